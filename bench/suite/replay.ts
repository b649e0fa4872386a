import { join } from "node:path";
import { ensureBundle } from "../../models/bundle.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { statisticInterval } from "../eval/bootstrap.ts";
import { replayCases } from "../eval/cases.ts";
import { correlation, type HmaxPoint, hmaxPoint } from "../eval/entropy.ts";
import { evaluate, type RowResult } from "../eval/evaluate.ts";
import { type DecodeCounts, hardwareCost, NO_WEIGHTS } from "../eval/hardware.ts";
import { hardwareShape, neuralWeights } from "../eval/hardware-shape.ts";
import { type LoadedBundle, loadBundle } from "../eval/model.ts";
import { Progress } from "../eval/progress.ts";
import { addReliability, type Reliability } from "../eval/reliability.ts";
import { formatTable, type MethodSummary, summarise } from "../eval/summary.ts";
import { checkTrace, readTrace, type Trace } from "../eval/trace.ts";
import { provenance } from "../provenance.ts";
import { availableMethods, readTune, save, storedBundle, suiteMethod } from "./common.ts";
import { exampleDrafts } from "./examples.ts";
import { mtBench } from "./mt-bench.ts";
import { RESULTS, type SuiteOptions } from "./options.ts";
import { plainScores } from "./plain-scores.ts";
import { MAIN_SET, SUITE_METHODS, type SuiteSet } from "./sets.ts";
import {
  type HardwareRow,
  STORED_FORMAT,
  type StoredCategories,
  type StoredHmax,
  type StoredReplay,
  type StoredSet,
  type StoredTune,
} from "./stored.ts";
import { tracePath } from "./trace.ts";

interface TracedSet {
  readonly set: SuiteSet;
  readonly trace: Trace;
}

/** Every method over the stored traces of the test split, alphas as tuned. Makes no model calls. */
export async function replayStage(options: SuiteOptions): Promise<void> {
  const run = provenance("eval", options.seed);
  const traced = await readTraces(options);
  const bundle = await loadBundle(await ensureBundle(options.bundle), options.bundle);
  const tune = await readTune(options.tuned, bundle.manifest);
  for (const { trace } of traced) checkTrace(trace, bundle.manifest);
  const wanted = options.methods ?? SUITE_METHODS;
  const names = [...availableMethods(wanted, bundle.manifest, tune), ...packMethods(bundle.manifest)];
  const bar = new Progress(
    traced.reduce((sum, { trace }) => sum + trace.generations.length, 0),
    "answers",
  );
  const sets: StoredSet[] = [];
  const rows: RowResult[] = [];
  try {
    for (const one of traced) {
      const done = await replaySet(one, names, bundle, tune, options.seed, () => bar.step());
      sets.push({ ...done.stored, scores: await plainScores(one.set, one.trace, bundle.text, options.data) });
      rows.push(...done.rows);
    }
  } finally {
    bar.stop();
  }
  const main = sets.find(({ set }) => set === MAIN_SET) ?? sets[0]!;
  const stored: StoredReplay = {
    format: STORED_FORMAT,
    kind: "replay",
    run,
    bundle: storedBundle(bundle.manifest),
    h_max: hmaxOf(rows, sets, options.seed),
    hardware: { set: main.title, methods: await hardwareOf(main, bundle.manifest) },
    mt_bench: shortenAll(mtBench(rows, names, options.seed)),
    reliability: reliabilityOf(rows),
    examples: await exampleDrafts(names, traced, bundle, tune),
    sets,
  };
  await save(options.out ?? join(RESULTS, "replay.json"), stored);
  for (const set of sets) console.log(`${set.title}\n${formatTable(set)}\n`);
}

async function readTraces({ sets, traces }: SuiteOptions): Promise<TracedSet[]> {
  const found: TracedSet[] = [];
  for (const set of sets) {
    const path = tracePath(traces, set.name, "test");
    try {
      found.push({ set, trace: await readTrace(path) });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      console.error(`no ${path}: left out`);
    }
  }
  if (found.length === 0) throw new Error(`no traces in ${traces}: make them with npm run eval -- --suite trace`);
  return found;
}

/** One for each pack, at its own order: general against in-domain packs. */
function packMethods({ packs }: BundleManifest): string[] {
  return packs.map(({ name, order }) => `ngram-${order}@${name}`);
}

async function replaySet(
  { set, trace }: TracedSet,
  names: readonly string[],
  bundle: LoadedBundle,
  tune: StoredTune | null,
  seed: number,
  onCase: () => void,
): Promise<{ readonly stored: Omit<StoredSet, "scores">; readonly rows: RowResult[] }> {
  const categories = [...new Set(trace.generations.map(({ category }) => category))];
  const rows: RowResult[] = [];
  const neural = await bundle.neural(names.map((name) => suiteMethod(name, "", bundle.manifest, tune)));
  const alphas: Record<string, Record<string, number>> = {};
  for (const category of categories) {
    const methods = names.map((name) => suiteMethod(name, category, bundle.manifest, tune));
    for (const { name, draft } of methods) {
      if ("alpha" in draft) alphas[name] = { ...alphas[name], [category]: draft.alpha };
    }
    const generations = trace.generations.filter((generation) => generation.category === category);
    const cases = replayCases(generations, { manifest: bundle.manifest, neural }, trace.header.maxTokens);
    rows.push(...(await evaluate(cases, { methods, parts: await bundle.parts(methods), onCase })));
  }
  await neural?.release();
  const summary = summarise(rows, names, seed);
  const stored = {
    set: set.name,
    title: set.title,
    trace_command: trace.header.command,
    prompts: rows.length,
    max_tokens: trace.header.maxTokens,
    categories: Object.fromEntries(Object.entries(summary.categories).map(([name, group]) => [name, shorten(group)])),
    overall: categories.length > 1 ? shorten(summary.overall) : {},
    alphas,
  };
  return { stored, rows };
}

/** Its categories are too small for more than the efficiency. */
function shortenAll(categories: StoredCategories | null): StoredCategories | null {
  if (categories === null) return null;
  const groups = Object.entries(categories).map(([name, methods]) => {
    const kept = Object.entries(methods).filter(([method]) => !isAside(method));
    return [name, Object.fromEntries(kept.map(([method, m]) => [method, { ...m, ...NOTHING }]))] as const;
  });
  return Object.fromEntries(groups);
}

const NOTHING = {
  drafted_by_position: [],
  accepted_by_position: [],
  repetition: { before: null, after: null },
  head_entropy_nats: [],
  h_max: null,
};

function isAside(method: string): boolean {
  return /^oracle-|@/.test(method) && method !== "oracle-16";
}

/** Methods of which the report shows more than the efficiency; without the rest of the others the stored run stays small. */
const DETAILED = new Set([
  ...["none", "ngram-2", "ngram-3", "ngram-4", "ngram-4-16best", "pair", "path", "tree", "neural"],
]);

function shorten(group: Readonly<Record<string, MethodSummary>>): Record<string, MethodSummary> {
  return Object.fromEntries(
    Object.entries(group).map(([name, m]) => [name, DETAILED.has(name) ? m : { ...m, ...NOTHING }]),
  );
}

/** Of the default draft. */
function reliabilityOf(rows: readonly RowResult[]): StoredReplay["reliability"] {
  const total: Reliability = new Map();
  for (const row of rows) addReliability(total, row.methods.get(RELIABLE)?.counters.reliability ?? new Map());
  return { [RELIABLE]: Object.fromEntries([...total].toSorted(([a], [b]) => (a < b ? -1 : 1))) };
}

const RELIABLE = "tree";

/** Over plain blockwise decoding: every prompt, and every task as a whole. */
function hmaxOf(rows: readonly RowResult[], sets: readonly StoredSet[], seed: number): StoredHmax {
  const prompts = rows.flatMap((row) => {
    const none = row.methods.get("none");
    return (none === undefined ? null : hmaxPoint(row.id, none.counters)) ?? [];
  });
  const tasks = sets.flatMap((set) =>
    Object.entries(set.categories).flatMap(([category, methods]): HmaxPoint[] => {
      const { h_max = null, block_efficiency = null } = methods.none ?? {};
      return h_max === null || block_efficiency === null ? [] : [{ name: category, h_max, block_efficiency }];
    }),
  );
  const r = (points: readonly HmaxPoint[]) => correlation(points.map((p) => [p.h_max, p.block_efficiency] as const));
  return {
    tasks,
    prompts,
    tasks_r: r(tasks),
    prompts_r: r(prompts),
    tasks_r_ci95: statisticInterval(tasks, seed, r),
    prompts_r_ci95: statisticInterval(prompts, seed, r),
  };
}

async function hardwareOf(set: StoredSet, manifest: BundleManifest): Promise<Record<string, HardwareRow>> {
  const shape = await hardwareShape(manifest);
  const all = Object.keys(set.overall).length > 0 ? set.overall : Object.values(set.categories)[0]!;
  const rows = Object.entries(all).flatMap(([name, m]): [string, HardwareRow][] => {
    if (name.startsWith("oracle-") || name.includes("@") || m.block_efficiency === null) return [];
    const counts = countsPerText(m);
    const headsRun = !/^ar$|^prompt-lookup$|^recycling/.test(name);
    const { tokens, steps, draftedNodes } = counts;
    // What was committed since the last step, then each lattice row.
    const passes = tokens / steps + manifest.latticeHeads;
    const rescorer = name.endsWith("neural") ? neuralWeights(manifest, passes) : NO_WEIGHTS;
    const cost = hardwareCost(shape, { ...counts, headsRun, rescorer });
    return [[name, { block_efficiency: m.block_efficiency, tokens, steps, drafted_nodes: draftedNodes, ...cost }]];
  });
  return Object.fromEntries(rows);
}

/** The token that prefill yields needs no step and is not counted. */
function countsPerText(m: MethodSummary): Pick<DecodeCounts, "tokens" | "steps" | "draftedNodes"> {
  const { tokens, steps, drafted_tokens, completions } = m;
  return { tokens: tokens / completions, steps: steps / completions, draftedNodes: drafted_tokens / completions };
}
