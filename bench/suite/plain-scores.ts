import { fileOfSet } from "../data/files.ts";
import type { EvalText } from "../eval/cases.ts";
import { readRows } from "../eval/rows.ts";
import { SCORE_KINDS, scoreAnswer } from "../eval/scores.ts";
import type { Trace } from "../eval/trace.ts";
import type { SuiteSet } from "./sets.ts";
import type { StoredScores } from "./stored.ts";

/**
 * How well the traced answers do, which are those of plain decoding; null where the set has nothing to judge by, or
 * its file is not here.
 */
export async function plainScores(
  set: SuiteSet,
  trace: Trace,
  text: EvalText,
  dataDir: string,
): Promise<StoredScores | null> {
  const { score } = set;
  const file = score === null ? null : await fileOfSet(dataDir, set.name).catch(() => null);
  if (score === null || file === null) return null;
  const rows = await readRows([file], { split: "test", limit: null, perCategory: null });
  const references = new Map(rows.map((row) => [row.id, row.references]));
  const judged = trace.generations.flatMap(({ id, output }) => {
    const correct = references.get(id) ?? [];
    return correct.length === 0 ? [] : [scoreAnswer(score, text.decode([...output]), correct)];
  });
  if (judged.length === 0) return null;
  const mean = (i: number) => judged.reduce((sum, values) => sum + values[i]!, 0) / judged.length;
  return { answers: judged.length, means: Object.fromEntries(SCORE_KINDS[score].map((name, i) => [name, mean(i)])) };
}
