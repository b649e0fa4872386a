import { l as rougeSummary } from "js-rouge";

/** How a set's answers are judged; each score is 0..1, the mean over answers, higher is better. */
export type ScoreKind = "squad" | "rouge-l" | "last-word";

export const SCORE_KINDS: Readonly<Record<ScoreKind, readonly string[]>> = {
  squad: ["exact_match", "f1"],
  "rouge-l": ["rouge_l"],
  "last-word": ["accuracy"],
};

/** One value for each of SCORE_KINDS[kind]; the best over the references. */
export function scoreAnswer(kind: ScoreKind, answer: string, references: readonly string[]): readonly number[] {
  const best = (score: (reference: string) => number) => Math.max(0, ...references.map(score));
  switch (kind) {
    case "squad":
      return [best((reference) => exactMatch(answer, reference)), best((reference) => wordF1(answer, reference))];
    case "rouge-l":
      return [best((reference) => rougeL(answer, reference))];
    case "last-word":
      return [best((reference) => Number(normaliseAnswer(answer).split(" ")[0] === normaliseAnswer(reference)))];
  }
}

/** SQuAD's own normalisation (Rajpurkar et al. 2016): lower case, no punctuation, no articles, single spaces. */
function normaliseAnswer(text: string): string {
  const words = text
    .toLowerCase()
    .replace(/[!-/:-@[-`{-~]/g, "")
    .replace(/\b(a|an|the)\b/g, " ");
  return words.split(/\s+/).filter(Boolean).join(" ");
}

export function exactMatch(answer: string, reference: string): number {
  return Number(normaliseAnswer(answer) === normaliseAnswer(reference));
}

/** SQuAD's F1 over the words two answers share, each as often as both have it. */
export function wordF1(answer: string, reference: string): number {
  const given = normaliseAnswer(answer).split(" ").filter(Boolean);
  const wanted = normaliseAnswer(reference).split(" ").filter(Boolean);
  const left = new Map<string, number>();
  for (const word of wanted) left.set(word, (left.get(word) ?? 0) + 1);
  let shared = 0;
  for (const word of given) {
    const count = left.get(word) ?? 0;
    if (count > 0) shared++;
    left.set(word, count - 1);
  }
  return shared === 0 ? 0 : (2 * shared) / (given.length + wanted.length);
}

/** ROUGE-L (Lin 2004), F measure over sentences, case ignored. */
export function rougeL(answer: string, reference: string): number {
  if (answer.trim() === "" || reference.trim() === "") return 0;
  return rougeSummary(answer, reference, { caseSensitive: false });
}
