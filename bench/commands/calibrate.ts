import { writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { calibrationPath } from "../../models/calibration.ts";
import { evidenceAtHand, type FitOptions, fitCalibration } from "../calibrate/calibration.ts";
import { type LoadedBundle, loadBundle } from "../eval/model.ts";
import { Progress } from "../eval/progress.ts";
import { readTrace } from "../eval/trace.ts";

export const CALIBRATE_HELP = `npm run bench -- calibrate --replay FILE [--replay FILE ...] [options]
Fits what rescorer types tree and path believe of heads, n-gram model, prompt, recycled tokens and, where the bundle has
them, pairs to how the model went on: weights for every combination. Makes no model calls;
a trace of the tune split comes from
  npm run eval -- --prompts FILE --split tune --methods ar --save-trace TRACE
  --pack NAME     n-gram pack (the bundle's default)
  --penalty X     of the squared weights (3)
  --bundle NAME   the model, where the trace is of a GGUF file or package: FILE or DIR
  --out FILE      (models/<bundle>/calibration.json)`;

/** Prints the fit of each set of evidence; resolves nats per choice by evidence, and the file. */
export async function benchCalibrate(args: readonly string[]) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      replay: { type: "string", multiple: true, default: [] as string[] },
      pack: { type: "string" },
      penalty: { type: "string", default: "3" },
      bundle: { type: "string" },
      out: { type: "string" },
    },
  });
  if (values.replay.length === 0) throw new Error("--replay FILE is needed (--help)");
  const penalty = Number(values.penalty);
  if (!(penalty > 0)) throw new Error("--penalty: a number above 0");
  const traces = await Promise.all(values.replay.map(readTrace));
  const name = traces[0]!.header.bundle;
  if (traces.some(({ header }) => header.bundle !== name)) throw new Error("the traces are of several bundles");
  const generations = traces.flatMap((trace) => trace.generations);
  const dir = await ensureBundle(values.bundle ?? name);
  const bundle = await loadBundle(dir, basename(dir));
  const { pair: tables } = bundle.manifest.graphs;
  if (traces.some(({ header }) => header.pairHash !== tables?.sha256))
    throw new Error(`the traces were made with other pair tables than bundle ${bundle.manifest.name} has now`);
  const pair = await bundle.pair();
  const { model, pack } = await loadPack(bundle, values.pack ?? null);
  // Where a trace lay on this machine is of no use to anybody.
  const command = `npm run bench -- calibrate ${args.map((arg) => basename(arg)).join(" ")}`;
  const options = { model, pack, pair, penalty, command };
  const bar = new Progress(evidenceAtHand(options).length, "fits");
  try {
    const fitted = fitCalibration(generations, { ...options, onFit: () => bar.step() });
    const path = values.out ?? calibrationPath(name);
    await writeFile(path, `${JSON.stringify(fitted.calibration)}\n`);
    return { path, completions: generations.length, choices: fitted.choices, nats_per_choice: fitted.loss };
  } finally {
    bar.stop();
  }
}

/** The pack and order that a request without wishes gets. */
async function loadPack(bundle: LoadedBundle, wanted: string | null): Promise<Pick<FitOptions, "model" | "pack">> {
  const { packs, defaults } = bundle.manifest;
  const pack = wanted ?? defaults.rescorer.model;
  if (packs.length === 0 || pack === "") return { model: null, pack: null };
  return { model: (await bundle.pack(pack)).withOrder(defaults.rescorer.order), pack };
}
