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

/** Those of `rows` that are MT-Bench's, by its own categories and in their order. */
export function mtBenchRows(rows: readonly RowResult[]): RowResult[] {
  return CATEGORIES.flatMap((category) =>
    rows.filter(({ id }) => mtBenchCategory(id) === category).map((row) => ({ ...row, category })),
  );
}

/** By these categories; null where there are none. */
export function mtBench(rows: readonly RowResult[], methods: readonly string[], seed: number): StoredCategories | null {
  const own = mtBenchRows(rows);
  return own.length === 0 ? null : summarise(own, methods, seed).categories;
}
