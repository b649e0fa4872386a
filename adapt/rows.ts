import { type EvalRow, readRows } from "../bench/eval/rows.ts";

/** What a prompt is for: to learn from, to fit few numbers to, to report on. */
export interface Rows {
  readonly train: readonly EvalRow[];
  readonly tune: readonly EvalRow[];
  readonly test: readonly EvalRow[];
}

/** By the rows' own `split`; of ten that name none the fifth tunes, the tenth tests. Throws Error where a part is empty. */
export async function splitRows(paths: readonly string[]): Promise<Rows> {
  const rows = await readRows(paths, { split: null, limit: null, perCategory: null });
  const parts = { train: [] as EvalRow[], tune: [] as EvalRow[], test: [] as EvalRow[] };
  for (const [i, row] of rows.entries()) {
    const own = i % 10 === 4 ? "tune" : i % 10 === 9 ? "test" : "train";
    const name = row.split ?? own;
    if (name === "train" || name === "tune" || name === "test") parts[name].push(row);
  }
  const empty = Object.entries(parts).find(([, part]) => part.length === 0);
  if (empty !== undefined) {
    throw new Error(`${rows.length} prompts, none of them for ${empty[0]}: give ten or more, or rows with a split`);
  }
  return parts;
}
