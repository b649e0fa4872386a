import { writeFile } from "node:fs/promises";
import { availableParallelism, cpus } from "node:os";
import { provenance } from "../provenance.ts";
import { ABUSE_HELP, benchAbuse } from "./abuse.ts";
import { AGREE_HELP, benchAgree } from "./agree.ts";
import { benchCalibrate, CALIBRATE_HELP } from "./calibrate.ts";
import { benchDecode, DECODE_HELP } from "./decode.ts";
import { benchDistance, DISTANCE_HELP } from "./distance.ts";
import { benchGpu, GPU_HELP } from "./gpu.ts";
import { benchHostile, HOSTILE_HELP } from "./hostile.ts";
import { benchIdentity, IDENTITY_HELP } from "./identity.ts";
import { benchLoad, LOAD_HELP } from "./load.ts";
import { benchNeural, NEURAL_HELP } from "./neural.ts";
import { benchPrediction, PREDICTION_HELP } from "./prediction.ts";
import { benchRescore, RESCORE_HELP } from "./rescore.ts";
import { benchSoak, SOAK_HELP } from "./soak.ts";
import { benchStructured, STRUCTURED_HELP } from "./structured.ts";

interface Bench {
  readonly help: string;
  /** Prints what it likes; resolves the result. */
  readonly run: (args: readonly string[]) => Promise<unknown>;
}

const BENCHES: Readonly<Record<string, Bench>> = {
  abuse: { help: ABUSE_HELP, run: benchAbuse },
  agree: { help: AGREE_HELP, run: benchAgree },
  calibrate: { help: CALIBRATE_HELP, run: benchCalibrate },
  decode: { help: DECODE_HELP, run: benchDecode },
  distance: { help: DISTANCE_HELP, run: benchDistance },
  gpu: { help: GPU_HELP, run: benchGpu },
  hostile: { help: HOSTILE_HELP, run: benchHostile },
  identity: { help: IDENTITY_HELP, run: benchIdentity },
  load: { help: LOAD_HELP, run: benchLoad },
  neural: { help: NEURAL_HELP, run: benchNeural },
  prediction: { help: PREDICTION_HELP, run: benchPrediction },
  rescore: { help: RESCORE_HELP, run: benchRescore },
  soak: { help: SOAK_HELP, run: benchSoak },
  structured: { help: STRUCTURED_HELP, run: benchStructured },
};

const NAMES = Object.keys(BENCHES).join("|");

const HELP = `npm run bench -- ${NAMES} [options]
The last line of stdout is the result as JSON; --json may be given and changes nothing. --store FILE keeps it too, with the
command, the commit and the machine.

${Object.values(BENCHES)
  .map(({ help }) => help)
  .join("\n\n")}`;

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function main([name = "", ...args]: readonly string[]): Promise<void> {
  if (name === "--help") return console.log(HELP);
  const bench = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
  if (bench === undefined) throw new Error(`usage: npm run bench -- ${NAMES} [options] (--help)`);
  if (args.includes("--help")) return console.log(bench.help);
  const { out, rest } = withoutStore(args.filter((arg) => arg !== "--json"));
  const run = { ...provenance("bench", null), machine: `${availableParallelism()} threads, ${cpus()[0]?.model}` };
  const result = await bench.run(rest);
  if (out !== null) await writeFile(out, `${JSON.stringify({ run, result }, null, 1)}\n`);
  console.log(JSON.stringify(result));
}

/** Commands parse their own options; where the result goes is no business of theirs. */
function withoutStore(args: readonly string[]): { readonly out: string | null; readonly rest: readonly string[] } {
  const at = args.indexOf("--store");
  if (at < 0) return { out: null, rest: args };
  const out = args[at + 1];
  if (out === undefined) throw new Error("--store: a file is needed");
  return { out, rest: args.toSpliced(at, 2) };
}
