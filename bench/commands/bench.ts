import { writeFile } from "node:fs/promises";
import { availableParallelism, cpus } from "node:os";
import { provenance } from "../provenance.ts";

interface Bench {
  readonly help: string;
  /** Prints what it likes; resolves the result. */
  readonly run: (args: readonly string[]) => Promise<unknown>;
}

/** Each is loaded when it is asked for: together they import nearly all there is. */
const BENCHES: Readonly<Record<string, () => Promise<Bench>>> = {
  abuse: () => import("./abuse.ts").then(({ ABUSE_HELP: help, benchAbuse: run }) => ({ help, run })),
  agree: () => import("./agree.ts").then(({ AGREE_HELP: help, benchAgree: run }) => ({ help, run })),
  calibrate: () => import("./calibrate.ts").then(({ CALIBRATE_HELP: help, benchCalibrate: run }) => ({ help, run })),
  decode: () => import("./decode.ts").then(({ DECODE_HELP: help, benchDecode: run }) => ({ help, run })),
  distance: () => import("./distance.ts").then(({ DISTANCE_HELP: help, benchDistance: run }) => ({ help, run })),
  fidelity: () => import("./fidelity.ts").then(({ FIDELITY_HELP: help, benchFidelity: run }) => ({ help, run })),
  gpu: () => import("./gpu.ts").then(({ GPU_HELP: help, benchGpu: run }) => ({ help, run })),
  hostile: () => import("./hostile.ts").then(({ HOSTILE_HELP: help, benchHostile: run }) => ({ help, run })),
  identity: () => import("./identity.ts").then(({ IDENTITY_HELP: help, benchIdentity: run }) => ({ help, run })),
  load: () => import("./load.ts").then(({ LOAD_HELP: help, benchLoad: run }) => ({ help, run })),
  neural: () => import("./neural.ts").then(({ NEURAL_HELP: help, benchNeural: run }) => ({ help, run })),
  prediction: () =>
    import("./prediction.ts").then(({ PREDICTION_HELP: help, benchPrediction: run }) => ({ help, run })),
  rescore: () => import("./rescore.ts").then(({ RESCORE_HELP: help, benchRescore: run }) => ({ help, run })),
  soak: () => import("./soak.ts").then(({ SOAK_HELP: help, benchSoak: run }) => ({ help, run })),
  structured: () =>
    import("./structured.ts").then(({ STRUCTURED_HELP: help, benchStructured: run }) => ({ help, run })),
};

const NAMES = Object.keys(BENCHES).join("|");

const USAGE = `npm run bench -- ${NAMES} [options]
The last line of stdout is the result as JSON; --json may be given and changes nothing. --store FILE keeps it too, with the
command, the commit and the machine.`;

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function main([name = "", ...args]: readonly string[]): Promise<void> {
  if (name === "--help") {
    const all = await Promise.all(Object.values(BENCHES).map((load) => load()));
    return console.log([USAGE, ...all.map(({ help }) => help)].join("\n\n"));
  }
  const load = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
  if (load === undefined) throw new Error(`usage: npm run bench -- ${NAMES} [options] (--help)`);
  const bench = await load();
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
