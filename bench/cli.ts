import { benchAbuse } from "./abuse.ts";
import { benchCalibrate } from "./calibrate.ts";
import { benchDecode } from "./decode.ts";
import { benchNeural } from "./neural.ts";
import { benchRescore } from "./rescore.ts";

const BENCHES: Record<string, (args: readonly string[]) => Promise<unknown>> = {
  abuse: benchAbuse,
  calibrate: benchCalibrate,
  decode: benchDecode,
  neural: benchNeural,
  rescore: benchRescore,
};

const [name = "", ...args] = process.argv.slice(2);
const bench = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
if (bench === undefined) {
  console.error(`usage: npm run bench -- ${Object.keys(BENCHES).join("|")} [--json]`);
  process.exitCode = 1;
} else {
  try {
    const result = await bench(args.filter((arg) => arg !== "--json"));
    // The last line of stdout is the result, whatever was printed before.
    console.log(JSON.stringify(result));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
