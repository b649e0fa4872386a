import type { RowResult } from "../eval/evaluate.ts";
import { summarise } from "../eval/summary.ts";
import type { StoredCategories } from "./stored.ts";

/** MT-Bench's questions are numbered from 81 on, ten of each category in this order; Spec-Bench keeps their numbers. */
const CATEGORIES = ["writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"] as const;
const FIRST = 81;
const EACH = 10;

/** The category of a Spec-Bench row that is MT-Bench's, else null. */
export function mtBenchCategory(id: string): string | null {
  const number = /^spec_bench\/(\d+)$/.exec(id)?.[1];
  return number === undefined ? null : (CATEGORIES[Math.floor((Number(number) - FIRST) / EACH)] ?? null);
}

/** Their rows by MT-Bench's own categories, in its order; null where there are none. */
export function mtBench(rows: readonly RowResult[], methods: readonly string[], seed: number): StoredCategories | null {
  const own = rows.flatMap((row) => {
    const category = mtBenchCategory(row.id);
    return category === null ? [] : [{ ...row, category }];
  });
  if (own.length === 0) return null;
  const { categories } = summarise(own, methods, seed);
  return Object.fromEntries(CATEGORIES.flatMap((name) => (categories[name] ? [[name, categories[name]]] : [])));
}
