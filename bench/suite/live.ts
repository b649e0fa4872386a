import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { loadBundle as loadModel } from "../../gpu-worker/load.ts";
import type { Model as BaseModel } from "../../gpu-worker/model.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { fileOfSet } from "../data/files.ts";
import { liveCases, type Model } from "../eval/cases.ts";
import { evaluate } from "../eval/evaluate.ts";
import type { Method } from "../eval/methods.ts";
import { loadBundle } from "../eval/model.ts";
import { perplexity, targetLogProbs } from "../eval/perplexity.ts";
import { Progress } from "../eval/progress.ts";
import { type EvalRow, readRows } from "../eval/rows.ts";
import { SCORE_KINDS, type ScoreKind, scoreAnswer } from "../eval/scores.ts";
import { type MethodSummary, summarise } from "../eval/summary.ts";
import { provenance } from "../provenance.ts";
import { availableMethods, save, storedBundle, suiteMethod } from "./common.ts";
import { LIVE_FILES, RESULTS, type SuiteOptions } from "./options.ts";
import { LIVE_METHODS, promptCount, type SuiteSet } from "./sets.ts";
import { type LiveMethod, STORED_FORMAT, type StoredLive } from "./stored.ts";

type LiveSet = StoredLive["sets"][number];

/** The set whose targets' perplexity is measured, and on how many of them at scale 1. */
const PERPLEXITY_SET = "lambada";
const TARGETS = 48;

/**
 * The model itself, plainly and with drafts as large as pays here, alphas the bundle's own, as the served API has
 * both: speed, texts, task scores. Greedy texts of
 * two methods may differ where the model is indifferent to within rounding; each difference is told.
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
  const names = availableMethods(options.methods ?? LIVE_METHODS, bundle.manifest);
  const methods = names.map((name) => suiteMethod(name, "", bundle.manifest, null));
  const packs = await bundle.packs(methods);
  const bar = new Progress(work.reduce((sum, { rows }) => sum + rows.length, 0));
  const sets: LiveSet[] = [];
  let targets: StoredLive["perplexity"] = null;
  try {
    for (const { set, rows } of work) {
      sets.push(await liveSet(set, rows, model, methods, packs, options.seed, bar));
    }
  } finally {
    bar.stop();
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
    sets,
  };
  await save(options.out ?? join(RESULTS, LIVE_FILES[options.provider]), stored);
}

/** The first of each category; where answers are judged, the first that can be. */
async function liveRows(set: SuiteSet, { data, scale }: SuiteOptions): Promise<EvalRow[]> {
  const perCategory = promptCount(set, "live", scale);
  const file = await fileOfSet(data, set.name);
  const all = (limit: number | null) => readRows([file], { split: "test", limit: null, perCategory: limit });
  if (set.score === null) return all(perCategory);
  const judged = (await all(null)).filter(({ references }) => references.length > 0);
  return judged.slice(0, perCategory);
}

async function liveSet(
  set: SuiteSet,
  rows: readonly EvalRow[],
  model: Model,
  methods: readonly Method[],
  packs: Parameters<typeof evaluate>[1]["packs"],
  seed: number,
  bar: Progress,
): Promise<LiveSet> {
  const cases = liveCases(rows, model, {
    maxTokens: set.maxTokens,
    autoNodes: true,
    onGeneration: null,
    onSkipped: (row, tokens) => bar.say(`${row.id}: left out, its prompt of ${tokens} tokens is too long`),
    onRow: () => bar.step(),
  });
  const scores = new ScoreSums(set.score);
  const results = await evaluate(cases, {
    methods,
    packs,
    onAnswer: ({ references }, { name }, output) => scores.add(name, model.text.decode(output), references),
    onDifference: (done, { name }, difference) =>
      bar.say(`${done.id}: ${name} differs from plain decoding${difference?.floatTie ? ", a float tie" : ""}`),
  });
  const names = methods.map(({ name }) => name);
  const summary = summarise(results, names, seed);
  const groups = Object.entries(summary.categories);
  const shorten = (group: Readonly<Record<string, MethodSummary>>) =>
    Object.fromEntries(
      Object.entries(group).map(([name, m]) => [name, liveMethod(m, groups.length > 1 ? {} : scores.means(name))]),
    );
  return {
    set: set.name,
    title: set.title,
    prompts: results.length,
    max_tokens: set.maxTokens,
    categories: Object.fromEntries(groups.map(([category, group]) => [category, shorten(group)])),
    overall: groups.length > 1 ? shorten(summary.overall) : {},
  };
}

function liveMethod(m: MethodSummary, scores: Readonly<Record<string, number>>): LiveMethod {
  const { tokens_per_s, block_efficiency, tokens, steps, prompts, identical_to_plain, float_ties } = m;
  return { tokens_per_s, block_efficiency, tokens, steps, prompts, identical_to_plain, float_ties, scores };
}

/** Sums of one set's scores, by method. */
class ScoreSums {
  readonly #kind: ScoreKind | null;
  readonly #sums = new Map<string, { answers: number; values: number[] }>();

  constructor(kind: ScoreKind | null) {
    this.#kind = kind;
  }

  add(method: string, answer: string, references: readonly string[]): void {
    if (this.#kind === null || references.length === 0) return;
    const values = scoreAnswer(this.#kind, answer, references);
    const sum = this.#sums.get(method) ?? { answers: 0, values: values.map(() => 0) };
    sum.answers++;
    for (const [i, value] of values.entries()) sum.values[i]! += value;
    this.#sums.set(method, sum);
  }

  means(method: string): Record<string, number> {
    const sum = this.#sums.get(method);
    if (this.#kind === null || sum === undefined) return {};
    return Object.fromEntries(SCORE_KINDS[this.#kind].map((name, i) => [name, sum.values[i]! / sum.answers]));
  }
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
