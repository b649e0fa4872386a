import { type EvalRow, readRows } from "../bench/eval/rows.ts";

/** What a prompt is for: to learn from, to fit few numbers to, to report on. */
export interface Rows {
  readonly train: readonly EvalRow[];
  readonly tune: readonly EvalRow[];
  readonly test: readonly EvalRow[];
}

/**
 * By the rows' own `split`; of ten that name none the fifth tunes, the tenth tests. In each part the categories take turns, so that a
 * step whose time is up has seen all of them. Throws Error where a part is empty.
 */
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
  return { train: inTurns(parts.train), tune: inTurns(parts.tune), test: inTurns(parts.test) };
}

function inTurns(rows: readonly EvalRow[]): EvalRow[] {
  const turns = new Map<string, number>();
  const turnOf = rows.map(({ category }) => {
    const turn = turns.get(category) ?? 0;
    turns.set(category, turn + 1);
    return turn;
  });
  const order = rows.map((_, i) => i).sort((a, b) => turnOf[a]! - turnOf[b]! || a - b);
  return order.map((i) => rows[i]!);
}
