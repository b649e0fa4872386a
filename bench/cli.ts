import { benchDecode } from "./decode.ts";
import { benchRescore } from "./rescore.ts";

const BENCHES: Record<string, (args: readonly string[]) => Promise<unknown>> = {
  decode: benchDecode,
  rescore: benchRescore,
};

const [name = "", ...args] = process.argv.slice(2);
const bench = BENCHES[name];
if (bench === undefined) {
  console.error(`usage: npm run bench -- ${Object.keys(BENCHES).join("|")} [--json]`);
  process.exitCode = 1;
} else {
  const result = await bench(args.filter((arg) => arg !== "--json"));
  // The last line of stdout is the result, whatever was printed before.
  console.log(JSON.stringify(result));
}
