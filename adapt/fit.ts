import { writeFile } from "node:fs/promises";
import { fitCalibration } from "../bench/calibrate/calibration.ts";
import { liveCases, type Model, replayCases } from "../bench/eval/cases.ts";
import { evaluate } from "../bench/eval/evaluate.ts";
import { parseMethod } from "../bench/eval/methods.ts";
import type { LoadedBundle } from "../bench/eval/model.ts";
import type { EvalRow } from "../bench/eval/rows.ts";
import { type EvalSummary, summarise } from "../bench/eval/summary.ts";
import { type Generation, readTrace, type Trace, traceHeader, writeTrace } from "../bench/eval/trace.ts";
import { OVERALL } from "../bench/suite/stored.ts";
import { tune } from "../bench/suite/tune.ts";
import type { BundleManifest, SpeculationDefaults } from "../shared/manifest.ts";
import type { Work } from "./work.ts";

const COMMAND = "npm run adapt";
const PENALTY = 3;
const ALPHAS = [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6];
const NGRAM = "ngram-4-prompt";
/** Drafts of one size are compared: what pays on a machine is decided there. */
const NODES = 16;
const TREES = [`tree-${NODES}`, `tree-${NODES}-recycled`] as const;

/**
 * Answers rows plainly with the heads running, until `share` of the step's time is spent but one at least, and stores the
 * trace as `name`; one made from the same is read.
 */
export async function traceRows(
  work: Work,
  name: string,
  from: string,
  rows: readonly EvalRow[],
  model: Model,
  maxTokens: number,
  share: number,
  onProgress: (share: number) => void,
): Promise<Trace> {
  const path = work.path(`${name}.fdtr`);
  if (work.isDone(name, from)) return await readTrace(path);
  const generations: Generation[] = [];
  let done = 0;
  const before = work.left("traces");
  const most = Math.min(before, share * work.allowed("traces"));
  await work.timed("traces", async (tick) => {
    const options = {
      maxTokens,
      autoNodes: false,
      onGeneration: (generation: Generation) => void generations.push(generation),
      onSkipped: () => undefined,
      onRow: () => void done++,
    };
    for await (const _ of liveCases(rows, model, options)) {
      await tick();
      const spent = before - work.left("traces");
      onProgress(Math.min(1, Math.max(done / rows.length, spent / most)));
      if (spent >= most) break;
    }
  });
  if (generations.length === 0) throw new Error(`no prompt of part ${name} fits the model's context`);
  const trace = { header: traceHeader(model.manifest, maxTokens, COMMAND), generations };
  await writeTrace(path, trace);
  await work.finish(name, from);
  return trace;
}

export interface Fitted {
  readonly manifest: BundleManifest;
  readonly defaults: SpeculationDefaults;
}

/** Calibration for trees, written to `target`, and the drafting that is best on the traces: rescorer, weight of the pack. */
export async function fitDrafts(trace: Trace, bundle: LoadedBundle, target: string): Promise<Fitted> {
  const { manifest } = bundle;
  const [pack = null] = manifest.packs;
  const usual = { ...manifest.defaults, heads: manifest.latticeHeads };
  const base = { ...usual.rescorer, prompt: true, model: pack?.name ?? "", order: pack?.order ?? usual.rescorer.order };
  const model = pack === null ? null : await bundle.pack(pack.name);
  const pair = await bundle.pair();
  const options = { model, pack: pack?.name ?? null, pair, penalty: PENALTY, command: COMMAND };
  const { calibration } = fitCalibration(trace.generations, options);
  await writeFile(target, `${JSON.stringify(calibration)}\n`);
  const alpha = pack === null ? 0 : await bestAlpha(trace, { ...bundle, manifest });
  // A tree weighs the pack by its calibration; 0 would leave it out.
  const treeAlpha = pack === null ? 0 : alpha || ALPHAS[1]!;
  const trees = { ...manifest, calibration, defaults: { ...usual, rescorer: { ...base, alpha: treeAlpha } } };
  const summary = await replay(trace, { ...bundle, manifest: trees }, TREES);
  const efficiency = (name: string) => summary.overall[name]?.block_efficiency ?? 1;
  const recycled = efficiency(TREES[1]) > efficiency(TREES[0]);
  const rescorer = { ...base, type: "tree", alpha: treeAlpha, ...(recycled ? { recycled } : {}) } as const;
  const defaults = { ...usual, rescorer };
  return { manifest: { ...trees, defaults }, defaults };
}

async function bestAlpha(trace: Trace, bundle: LoadedBundle): Promise<number> {
  const result = await tune([{ set: "tune", title: "tune", trace }], bundle, [NGRAM], ALPHAS);
  return result[NGRAM]?.[OVERALL]?.best_alpha ?? 0;
}

/** Every method that the bundle has the parts for, over traces that nothing was fitted to. */
export async function evaluateDrafts(trace: Trace, bundle: LoadedBundle): Promise<EvalSummary> {
  const heads = bundle.manifest.latticeHeads > 0 ? ["none"] : [];
  return await replay(trace, bundle, ["ar", ...heads, "prompt-lookup", NGRAM, ...TREES]);
}

async function replay(trace: Trace, bundle: LoadedBundle, names: readonly string[]): Promise<EvalSummary> {
  const { manifest } = bundle;
  const methods = names.map((name) => parseMethod(name, manifest, anyOptions(null)));
  const cases = replayCases(trace.generations, { manifest, neural: null }, trace.header.maxTokens);
  return summarise(await evaluate(cases, { methods, parts: await bundle.parts(methods) }), names, 1);
}

function anyOptions(alpha: number | null) {
  return { alpha, pack: null, heads: null, topK: null };
}
