import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../models/bundle.ts";
import { MODELS_DIR } from "../models/source.ts";
import { ROOT } from "../scripts/paths.ts";
import { replayCases } from "./eval/cases.ts";
import { evaluate, type RowResult } from "./eval/evaluate.ts";
import { parseMethod } from "./eval/methods.ts";
import { type LoadedBundle, loadBundle } from "./eval/model.ts";
import { methodNames } from "./eval/options.ts";
import { Progress } from "./eval/progress.ts";
import { alignColumns, type EvalSummary, summarise } from "./eval/summary.ts";
import { checkTrace, readTrace, type Trace } from "./eval/trace.ts";
import { provenance } from "./provenance.ts";
import { availableMethods, save, storedBundle } from "./suite/common.ts";
import { RESULTS } from "./suite/options.ts";
import { SETS, TUNED_METHODS } from "./suite/sets.ts";
import { OVERALL, STORED_FORMAT, type StoredTune, type Tuned, type TuneResult } from "./suite/stored.ts";
import { tracePath } from "./suite/trace.ts";

/** Finest where the best ones lie. */
const ALPHAS = "0,0.05,0.1,0.15,0.2,0.25,0.3,0.4,0.5,0.6,0.8";

export const TUNE_HELP = `npm run tune -- [options]
Finds the alpha with the most block efficiency, per rescorer and task, and writes the table that npm run eval -- --suite
reads. Makes no model calls; traces come from npm run eval -- --suite trace --split tune, or from --save-trace.
  --traces DIR    of the suite's traces (.cache/traces)
  --replay FILE   these traces instead; may be repeated
  --methods A,B   (${TUNED_METHODS.join(",")}); "default" stands for these
  --alphas A,B    (${ALPHAS})
  --apply         also make the alpha that is best overall for the bundle's default rescorer its default
  --out FILE      (bench/results/tune.json)`;

export interface NamedTrace {
  readonly set: string;
  readonly title: string;
  readonly trace: Trace;
}

/** null: help was asked for. */
export async function runTune(argv: readonly string[]): Promise<StoredTune | null> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      traces: { type: "string", default: join(ROOT, ".cache", "traces") },
      replay: { type: "string", multiple: true, default: [] as string[] },
      methods: { type: "string", default: "default" },
      alphas: { type: "string", default: ALPHAS },
      apply: { type: "boolean", default: false },
      out: { type: "string", default: join(RESULTS, "tune.json") },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return null;
  const alphas = values.alphas.split(",").map(Number);
  if (alphas.some((alpha) => !(alpha >= 0 && alpha <= 1))) throw new Error("--alphas: numbers from 0 to 1");
  const run = provenance("tune", null);
  const wanted = methodNames(values.methods).flatMap((name) => (name === "default" ? TUNED_METHODS : [name]));
  const traces = values.replay.length > 0 ? await namedFiles(values.replay) : await suiteTraces(values.traces);
  const bundle = await openBundle(traces);
  const methods = availableMethods(wanted, bundle.manifest);
  const result = await tune(traces, bundle, methods, alphas);
  console.log(formatTuned(result));
  const stored: StoredTune = {
    format: STORED_FORMAT,
    kind: "tune",
    run,
    bundle: storedBundle(bundle.manifest),
    sources: traces.map(({ set, title, trace: { header, generations } }) => ({
      set,
      title,
      trace_command: header.command,
      prompts: generations.filter(({ turn }) => turn === 0).length,
      max_tokens: header.maxTokens,
    })),
    result,
  };
  await save(values.out, stored);
  if (values.apply) await applyDefault(stored, bundle);
  return stored;
}

async function suiteTraces(dir: string): Promise<NamedTrace[]> {
  const found: NamedTrace[] = [];
  for (const { name, title } of SETS) {
    const trace = await readTrace(tracePath(dir, name, "tune")).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
    if (trace !== null) found.push({ set: name, title, trace });
  }
  if (found.length === 0)
    throw new Error(`no traces in ${dir}: make them with npm run eval -- --suite trace --split tune`);
  return found;
}

async function namedFiles(paths: readonly string[]): Promise<NamedTrace[]> {
  return Promise.all(paths.map(async (path) => ({ set: path, title: path, trace: await readTrace(path) })));
}

/** Of all traces: they must agree. */
async function openBundle(traces: readonly NamedTrace[]): Promise<LoadedBundle> {
  const name = traces[0]!.trace.header.bundle;
  const bundle = await loadBundle(await ensureBundle(name), name);
  for (const { trace } of traces) {
    if (trace.header.bundle !== name) throw new Error("the traces are of several bundles");
    checkTrace(trace, bundle.manifest);
  }
  return bundle;
}

/** Block efficiency by alpha, per method and category; the best. */
export async function tune(
  traces: readonly NamedTrace[],
  bundle: LoadedBundle,
  methods: readonly string[],
  alphas: readonly number[],
): Promise<TuneResult> {
  const { manifest } = bundle;
  const parse = (method: string, alpha: number) =>
    parseMethod(method, manifest, { alpha, pack: null, heads: null, topK: null });
  const neural = await bundle.neural(methods.map((method) => parse(method, 0)));
  const bar = new Progress(1 + methods.length * alphas.length, "settings");
  const measure = async (name: string, alpha: number): Promise<Groups> => {
    const method = parse(name, alpha);
    const packs = await bundle.packs([method]);
    const rows: RowResult[] = [];
    for (const { trace } of traces) {
      const cases = replayCases(trace.generations, { manifest, neural }, trace.header.maxTokens);
      rows.push(...(await evaluate(cases, { methods: [method], packs })));
    }
    bar.step();
    return groupsOf(summarise(rows, [name], 1), name);
  };
  try {
    const none = await measure("none", 0);
    const tuned: [string, Record<string, Tuned>][] = [];
    for (const name of methods) {
      const byAlpha = new Map<number, Groups>();
      for (const alpha of alphas) byAlpha.set(alpha, await measure(name, alpha));
      tuned.push([name, best(byAlpha, none)]);
    }
    return Object.fromEntries(tuned);
  } finally {
    bar.stop();
    await neural?.release();
  }
}

/** Rewrites the one number in models/<bundle>/source.json, whose layout is kept. */
async function applyDefault({ result }: StoredTune, { manifest }: LoadedBundle): Promise<void> {
  const { type, order, pBest } = manifest.defaults.rescorer;
  const method = type === "ngram" ? `ngram-${order}${pBest > 1 ? `-${pBest}best` : ""}` : type;
  const alpha = result[method]?.[OVERALL]?.best_alpha;
  if (alpha === undefined) throw new Error(`--apply: the default rescorer, ${method}, was not tuned`);
  const path = join(MODELS_DIR, manifest.name, "source.json");
  const source = await readFile(path, "utf8");
  const changed = source.replace(/("alpha": *)[\d.]+/, `$1${alpha}`);
  await writeFile(path, changed);
  console.error(`models/${manifest.name}/source.json: alpha ${alpha} for ${method}`);
}

/** Category, or OVERALL -> prompts and block efficiency. */
type Groups = ReadonlyMap<string, { readonly prompts: number; readonly efficiency: number }>;

function groupsOf(summary: EvalSummary, method: string): Groups {
  const groups = [...Object.entries(summary.categories), [OVERALL, summary.overall] as const];
  return new Map(
    groups.map(([group, methods]) => {
      const { prompts = 0, block_efficiency = null } = methods[method] ?? {};
      return [group, { prompts, efficiency: block_efficiency ?? 1 }];
    }),
  );
}

/** The lowest alpha wins a tie. */
export function best(byAlpha: ReadonlyMap<number, Groups>, none: Groups): Record<string, Tuned> {
  const alphas = [...byAlpha.keys()].toSorted((a, b) => a - b);
  return Object.fromEntries(
    [...none].map(([group, { prompts, efficiency: base }]): [string, Tuned] => {
      const curve = alphas.map((alpha) => [alpha, byAlpha.get(alpha)?.get(group)?.efficiency ?? 1] as const);
      const [alpha, efficiency] = curve.reduce((winner, next) => (next[1] > winner[1] ? next : winner));
      return [
        group,
        {
          prompts,
          best_alpha: alpha,
          block_efficiency: efficiency,
          gain_over_none: efficiency / base - 1,
          by_alpha: Object.fromEntries(curve),
        },
      ];
    }),
  );
}

function formatTuned(result: TuneResult): string {
  const lines = [["method", "category", "alpha", "block eff.", "vs none", "prompts"]];
  for (const [method, groups] of Object.entries(result)) {
    for (const [group, tuned] of Object.entries(groups)) {
      const gain = 100 * tuned.gain_over_none;
      const cells = [
        tuned.best_alpha.toFixed(2),
        tuned.block_efficiency.toFixed(3),
        `${gain.toFixed(1)} %`,
        String(tuned.prompts),
      ];
      lines.push([method, group, ...cells]);
    }
  }
  return alignColumns(lines);
}
