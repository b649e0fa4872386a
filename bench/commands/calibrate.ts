import { writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { calibrationPath } from "../../models/calibration.ts";
import type { NgramModel } from "../../shared/ngram/model.ts";
import { EVIDENCE } from "../../shared/rescore/calibration.ts";
import { fitCalibration } from "../calibrate/calibration.ts";
import { loadBundle } from "../eval/model.ts";
import { Progress } from "../eval/progress.ts";
import { readTrace } from "../eval/trace.ts";

export const CALIBRATE_HELP = `npm run bench -- calibrate --replay FILE [--replay FILE ...] [options]
Fits what rescorer type tree believes of heads, n-gram model and prompt to how the model went on. Makes no model calls;
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
  const { model, pack } = await loadPack(values.bundle ?? name, values.pack ?? null);
  // Where a trace lay on this machine is of no use to anybody.
  const command = `npm run bench -- calibrate ${args.map((arg) => basename(arg)).join(" ")}`;
  const bar = new Progress(EVIDENCE.length, "fits");
  try {
    const fitted = fitCalibration(generations, { model, pack, penalty, command, onFit: () => bar.step() });
    const path = values.out ?? calibrationPath(name);
    await writeFile(path, `${JSON.stringify(fitted.calibration)}\n`);
    return { path, completions: generations.length, choices: fitted.choices, nats_per_choice: fitted.loss };
  } finally {
    bar.stop();
  }
}

/** The pack and order that a request without wishes gets. */
async function loadPack(
  name: string,
  wanted: string | null,
): Promise<{ readonly model: NgramModel | null; readonly pack: string | null }> {
  const dir = await ensureBundle(name);
  const bundle = await loadBundle(dir, basename(dir));
  const { packs, defaults } = bundle.manifest;
  const pack = wanted ?? defaults.rescorer.model;
  if (packs.length === 0 || pack === "") return { model: null, pack: null };
  return { model: (await bundle.pack(pack)).withOrder(defaults.rescorer.order), pack };
}
