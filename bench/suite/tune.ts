import { replayCases } from "../eval/cases.ts";
import { evaluate, type RowResult } from "../eval/evaluate.ts";
import { parseMethod } from "../eval/methods.ts";
import type { LoadedBundle } from "../eval/model.ts";
import { Progress } from "../eval/progress.ts";
import { alignColumns, type EvalSummary, summarise } from "../eval/summary.ts";
import type { Trace } from "../eval/trace.ts";
import { OVERALL, type Tuned, type TuneResult } from "./stored.ts";

export interface NamedTrace {
  readonly set: string;
  readonly title: string;
  readonly trace: Trace;
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
    const parts = await bundle.parts([method]);
    const rows: RowResult[] = [];
    for (const { trace } of traces) {
      const cases = replayCases(trace.generations, { manifest, neural }, trace.header.maxTokens);
      rows.push(...(await evaluate(cases, { methods: [method], parts })));
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

export function formatTuned(result: TuneResult): string {
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
