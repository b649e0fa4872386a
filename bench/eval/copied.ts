import type { TokenId } from "../../shared/ids.ts";

/** Tokens of an n-gram whose return counts as copying. */
const COPIED_NGRAM = 8;

/**
 * [output] whether each token ends an 8-gram that prompt and output have had before: a drafter that only copies
 * can foresee these, and only these tell nothing of foresight.
 */
export function copiedTokens(prompt: ArrayLike<TokenId>, output: ArrayLike<TokenId>): boolean[] {
  const text = [...Array.from(prompt), ...Array.from(output)];
  const seen = new Set<string>();
  const copied: boolean[] = [];
  for (let end = 1; end <= text.length; end++) {
    const known = end >= COPIED_NGRAM && !isNew(seen, text.slice(end - COPIED_NGRAM, end).join());
    if (end > prompt.length) copied.push(known);
  }
  return copied;
}

function isNew(seen: Set<string>, ngram: string): boolean {
  const size = seen.size;
  return seen.add(ngram).size > size;
}
