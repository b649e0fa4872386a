import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { ensureBundle } from "../models/bundle.ts";
import { replayCases } from "./eval/cases.ts";
import { evaluate } from "./eval/evaluate.ts";
import { parseMethod } from "./eval/methods.ts";
import { loadBundle } from "./eval/model.ts";
import { Progress } from "./eval/progress.ts";
import { alignColumns, summarise } from "./eval/summary.ts";
import { readTrace, type Trace } from "./eval/trace.ts";

const HELP = `npm run bench -- tune --replay FILE [--replay FILE ...] [options]
Makes no model calls; a trace of the tune split comes from
  npm run eval -- --prompts FILE --split tune --methods ar --save-trace TRACE
  --methods A,B   n-gram methods, or neural (ngram-2,ngram-3,ngram-4,ngram-4-16best)
  --alphas A,B    (0 to 0.9 in steps of 0.1)
  --pack NAME     n-gram pack (one of the method's order)
  --out FILE      also write the result and the command, JSON`;

const METHODS = "ngram-2,ngram-3,ngram-4,ngram-4-16best";
const ALPHAS = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9";
const OVERALL = "overall";

/** Block efficiency at each alpha tried, and the best of them: the lowest one on a tie. */
export interface Tuned {
  readonly best_alpha: number;
  readonly block_efficiency: number;
  /** Over plain blockwise parallel decoding of the same prompts. */
  readonly gain_over_none: number;
  readonly by_alpha: Readonly<Record<string, number>>;
}

/** Method -> category, or "overall" -> what was found. */
export type TuneResult = Readonly<Record<string, Readonly<Record<string, Tuned>>>>;

interface TuneOptions {
  readonly replay: readonly string[];
  readonly methods: readonly string[];
  readonly alphas: readonly number[];
  readonly pack: string | null;
}

/** Prints the table; resolves what it was made from. */
export async function benchTune(args: readonly string[]): Promise<TuneResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      replay: { type: "string", multiple: true, default: [] as string[] },
      methods: { type: "string", default: METHODS },
      alphas: { type: "string", default: ALPHAS },
      pack: { type: "string" },
      out: { type: "string" },
    },
  });
  if (values.replay.length === 0) throw new Error(HELP);
  const alphas = values.alphas.split(",").map(Number);
  if (alphas.some((alpha) => !(alpha >= 0 && alpha <= 1))) throw new Error("--alphas: numbers from 0 to 1");
  const methods = values.methods.split(",");
  const result = await tune({ replay: values.replay, methods, alphas, pack: values.pack ?? null });
  console.log(formatTuned(result));
  const command = `npm run bench -- tune ${args.join(" ")}`;
  if (values.out !== undefined) await writeFile(values.out, `${JSON.stringify({ command, result }, null, 2)}\n`);
  return result;
}

async function tune(options: TuneOptions): Promise<TuneResult> {
  const traces = await Promise.all(options.replay.map(readTrace));
  const { bundle: name, maxTokens } = commonHeader(traces);
  const generations = traces.flatMap((trace) => trace.generations);
  const bundle = await loadBundle(await ensureBundle(name), name);
  const { manifest } = bundle;
  const parse = (method: string, alpha: number) =>
    parseMethod(method, manifest, { alpha, pack: options.pack, heads: null, topK: null });
  const neural = await bundle.neural(options.methods.map((method) => parse(method, 0)));
  const bar = new Progress(1 + options.methods.length * options.alphas.length, "settings");
  const measure = async (method: string, alpha: number) => {
    const parsed = parse(method, alpha);
    const packs = await bundle.packs([parsed]);
    const rows = await evaluate(replayCases(generations, { manifest, neural }, maxTokens), {
      methods: [parsed],
      packs,
    });
    bar.step();
    return efficiencies(summarise(rows, [method], 1), method);
  };
  try {
    const none = await measure("none", 0);
    const tuned: [string, Record<string, Tuned>][] = [];
    for (const method of options.methods) {
      const byAlpha = new Map<number, ReadonlyMap<string, number>>();
      for (const alpha of options.alphas) byAlpha.set(alpha, await measure(method, alpha));
      tuned.push([method, best(byAlpha, none)]);
    }
    return Object.fromEntries(tuned);
  } finally {
    bar.stop();
    await neural?.release();
  }
}

function commonHeader(traces: readonly Trace[]): Trace["header"] {
  const first = traces[0]!.header;
  for (const { header } of traces) {
    const same = header.bundle === first.bundle && header.maxTokens === first.maxTokens;
    if (!same) throw new Error("the traces differ in bundle or --max-tokens");
  }
  return first;
}

function efficiencies(summary: ReturnType<typeof summarise>, method: string): Map<string, number> {
  const groups = [...Object.entries(summary.categories), [OVERALL, summary.overall] as const];
  return new Map(groups.map(([group, methods]) => [group, methods[method]?.block_efficiency ?? 1]));
}

/** `byAlpha`: alpha -> category -> block efficiency; the lowest alpha wins a tie. */
export function best(
  byAlpha: ReadonlyMap<number, ReadonlyMap<string, number>>,
  none: ReadonlyMap<string, number>,
): Record<string, Tuned> {
  const alphas = [...byAlpha.keys()].toSorted((a, b) => a - b);
  return Object.fromEntries(
    [...none].map(([group, base]): [string, Tuned] => {
      const curve = alphas.map((alpha) => [alpha, byAlpha.get(alpha)?.get(group) ?? 1] as const);
      const [alpha, efficiency] = curve.reduce((winner, next) => (next[1] > winner[1] ? next : winner));
      return [
        group,
        {
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
  const lines = [["method", "category", "alpha", "block eff.", "vs none"]];
  for (const [method, groups] of Object.entries(result)) {
    for (const [group, tuned] of Object.entries(groups)) {
      const gain = 100 * tuned.gain_over_none;
      const cells = [tuned.best_alpha.toFixed(2), tuned.block_efficiency.toFixed(3), `${gain.toFixed(1)} %`];
      lines.push([method, group, ...cells]);
    }
  }
  return alignColumns(lines);
}
