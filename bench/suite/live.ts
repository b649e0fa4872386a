import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { loadBundle as loadModel } from "../../gpu-worker/load.ts";
import type { Model as BaseModel } from "../../gpu-worker/model.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { fileOfSet } from "../data/files.ts";
import { median } from "../decode/stats.ts";
import { statisticInterval } from "../eval/bootstrap.ts";
import { liveCases, type Model } from "../eval/cases.ts";
import { type EvaluateOptions, evaluate, type RowResult } from "../eval/evaluate.ts";
import { loadBundle } from "../eval/model.ts";
import { perplexity, targetLogProbs } from "../eval/perplexity.ts";
import { Progress } from "../eval/progress.ts";
import { type EvalRow, readRows } from "../eval/rows.ts";
import { summarise } from "../eval/summary.ts";
import { provenance } from "../provenance.ts";
import { availableMethods, readTune, save, storedBundle, suiteMethod } from "./common.ts";
import { LLAMA_METHODS, llamaPrograms } from "./llama-methods.ts";
import { mtBenchCategory, mtBenchRows } from "./mt-bench.ts";
import { LIVE_FILES, RESULTS, type SuiteOptions } from "./options.ts";
import { LIVE_METHODS, MAIN_SET, promptCount, type SuiteSet } from "./sets.ts";
import { type LiveMethod, STORED_FORMAT, type StoredLive, type StoredLiveCategories } from "./stored.ts";

type LiveSet = StoredLive["sets"][number];
type LiveSpeed = Pick<LiveMethod, "tokens_per_s" | "speed_up" | "speed_up_ci95">;

const PLAIN = "ar";
/** Prompts of each category of MT-Bench at scale 1: two answers each, and few there are. */
const OF_MT_BENCH = 3;

/** The set whose targets' perplexity is measured, and on how many of them at scale 1. */
const PERPLEXITY_SET = "lambada";
const TARGETS = 48;

/**
 * The model itself, plainly and with drafts as large as pays here, alphas the bundle's own, as the served API has
 * both: speed and texts, every method in turn on each prompt. Greedy texts of two methods may differ where the model is
 * indifferent to within rounding; each difference is told.
 */
export async function liveStage(options: SuiteOptions): Promise<void> {
  const run = provenance("eval", options.seed);
  const work: { set: SuiteSet; rows: EvalRow[] }[] = [];
  for (const set of options.sets) {
    work.push({ set, rows: await liveRows(set, options) });
  }
  const bundleDir = await ensureBundle(options.bundle, { provider: options.provider });
  const bundle = await loadBundle(bundleDir, options.bundle);
  const threads = options.threads ?? availableParallelism();
  const settings = { threads, provider: options.provider };
  const engine = await createInProcessEngine(bundleDir, settings);
  const model: Model = { engine, manifest: bundle.manifest, text: bundle.text, neural: null };
  const tune = await readTune(options.tuned, bundle.manifest);
  const wanted = options.methods ?? LIVE_METHODS;
  const own = wanted.filter((name) => !LLAMA_METHODS.includes(name));
  const names = availableMethods(own, bundle.manifest, tune);
  // Alphas as the API has them; of what was tuned only the ranks' shares are wanted.
  const shares = tune === null ? null : { ...tune, result: {} };
  const methods = names.map((name) => suiteMethod(name, "", bundle.manifest, shares));
  const parts = await bundle.parts(methods);
  const llama = await llamaPrograms(wanted, options.bundle, threads);
  const bar = new Progress(work.reduce((sum, { rows }) => sum + rows.length, 0));
  const sets: LiveSet[] = [];
  const ofMtBench: RowResult[] = [];
  let targets: StoredLive["perplexity"] = null;
  try {
    for (const { set, rows } of work) {
      // llama.cpp reads prompts slowly; one set is enough to know its speed by.
      const others = set.name === MAIN_SET ? llama.programs : [];
      const done = await liveSet(set, rows, model, { methods, parts, others }, options.seed, bar);
      sets.push(done.stored);
      ofMtBench.push(...mtBenchRows(done.rows));
    }
  } finally {
    bar.stop();
    llama.close();
    await engine.close();
  }
  const judged = work.find(({ set }) => set.name === PERPLEXITY_SET);
  if (judged !== undefined) {
    const { model: base } = await loadModel(bundleDir, settings);
    targets = await targetPerplexity(judged.set, options, model, base);
    await base.release();
  }
  const stored: StoredLive = {
    format: STORED_FORMAT,
    kind: "live",
    run,
    bundle: storedBundle(bundle.manifest),
    provider: options.provider,
    cpu: cpus()[0]?.model ?? "",
    threads,
    perplexity: targets,
    mt_bench: ofMtBench.length === 0 ? null : liveCategories(ofMtBench, names, options.seed),
    sets,
  };
  await save(options.out ?? join(RESULTS, LIVE_FILES[options.provider]), stored);
}

/** The first of each category, and of each that MT-Bench has. */
async function liveRows(set: SuiteSet, { data, scale }: SuiteOptions): Promise<EvalRow[]> {
  const file = await fileOfSet(data, set.name);
  const taken = new Map<string, number>();
  const rows = await readRows([file], { split: "test", limit: null, perCategory: null });
  return rows.filter(({ id, category }) => {
    const own = mtBenchCategory(id);
    const most = own === null ? promptCount(set, "live", scale) : Math.max(1, Math.round(OF_MT_BENCH * scale));
    const count = (taken.get(own ?? category) ?? 0) + 1;
    taken.set(own ?? category, count);
    return count <= most;
  });
}

async function liveSet(
  set: SuiteSet,
  rows: readonly EvalRow[],
  model: Model,
  options: Pick<EvaluateOptions, "methods" | "parts" | "others">,
  seed: number,
  bar: Progress,
): Promise<{ readonly stored: LiveSet; readonly rows: readonly RowResult[] }> {
  const cases = liveCases(rows, model, {
    maxTokens: set.liveTokens,
    autoNodes: true,
    onGeneration: null,
    onSkipped: (row, tokens) => bar.say(`${row.id}: left out, its prompt of ${tokens} tokens is too long`),
    onRow: () => bar.step(),
  });
  const results = await evaluate(cases, {
    ...options,
    onDifference: (done, { name }, difference) =>
      bar.say(`${done.id}: ${name} differs from plain decoding${difference?.floatTie ? ", a float tie" : ""}`),
  });
  const names = [...options.methods, ...(options.others ?? [])].map(({ name }) => name);
  const categories = liveCategories(results, names, seed);
  const stored = {
    set: set.name,
    title: set.title,
    prompts: results.length,
    max_tokens: set.liveTokens,
    categories,
    overall: Object.keys(categories).length > 1 ? liveGroup(results, names, seed) : {},
  };
  return { stored, rows: results };
}

function liveCategories(rows: readonly RowResult[], names: readonly string[], seed: number): StoredLiveCategories {
  const categories = [...new Set(rows.map(({ category }) => category))];
  const group = (wanted: string) => rows.filter(({ category }) => category === wanted);
  return Object.fromEntries(categories.map((name) => [name, liveGroup(group(name), names, seed)]));
}

function liveGroup(rows: readonly RowResult[], names: readonly string[], seed: number): Record<string, LiveMethod> {
  const { overall } = summarise(rows, names, seed);
  return Object.fromEntries(
    names.map((name) => {
      const { block_efficiency, tokens, steps, prompts, identical_to_plain, float_ties } = overall[name]!;
      return [
        name,
        { ...speedOf(rows, name, seed), block_efficiency, tokens, steps, prompts, identical_to_plain, float_ties },
      ];
    }),
  );
}

/** Medians over prompts: a method's speed, and what each prompt's own plain decoding makes of it. */
function speedOf(rows: readonly RowResult[], name: string, seed: number): LiveSpeed {
  const rate = (row: RowResult, method: string) => {
    const { counters, decodeMs = 0 } = row.methods.get(method) ?? {};
    return counters === undefined || decodeMs === 0 ? NaN : (1000 * counters.tokens) / decodeMs;
  };
  const middle = (values: readonly number[]) => {
    const known = values.filter(Number.isFinite);
    return known.length === 0 ? null : median(known);
  };
  const ratios = rows.map((row) => rate(row, name) / rate(row, PLAIN));
  return {
    tokens_per_s: middle(rows.map((row) => rate(row, name))),
    speed_up: middle(ratios),
    speed_up_ci95: statisticInterval(ratios, seed, middle),
  };
}

async function targetPerplexity(
  set: SuiteSet,
  { data, scale }: SuiteOptions,
  { text }: Model,
  model: BaseModel,
): Promise<StoredLive["perplexity"]> {
  const limit = Math.max(1, Math.round(TARGETS * scale));
  const rows = await readRows([await fileOfSet(data, set.name)], { split: "test", limit, perCategory: null });
  const plain: (readonly number[])[] = [];
  const drafted: (readonly number[])[] = [];
  for (const { input, references } of rows) {
    const [reference] = references;
    if (input.kind !== "prompt" || reference === undefined) continue;
    const prompt = text.prompt(input.prompt);
    const target = text.prompt(`${input.prompt} ${reference}`).slice(prompt.length);
    if (target.length === 0) continue;
    const seen = await targetLogProbs(model, prompt, [...target]);
    plain.push(seen.plain);
    drafted.push(seen.drafted);
  }
  if (plain.length === 0) return null;
  return { targets: plain.length, plain: perplexity(plain), drafted: perplexity(drafted) };
}
