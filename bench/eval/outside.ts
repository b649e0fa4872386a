import { chain, EMPTY_TREE } from "../../shared/draft-tree.ts";
import type { TokenId } from "../../shared/ids.ts";
import { createLattice } from "../../shared/lattice.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";

/**
 * The most any refinement of this lattice could gain: the completion itself, as far as each row lists
 * its next token among the first `topK`. `truth` is the plain greedy completion.
 */
export function oracleRescorer(promptLength: number, truth: ArrayLike<TokenId>, topK: number): Rescorer {
  let committed = -promptLength;
  return {
    commit(tokens) {
      committed += tokens.length;
    },
    draft(lattice, maxNodes) {
      const path: number[] = [];
      const columns = Math.min(topK, lattice.k);
      const rows = Math.min(lattice.heads, maxNodes);
      for (let row = 0; row < rows; row++) {
        const token = truth[committed + row];
        if (token === undefined) break;
        const from = row * lattice.k;
        if (!lattice.tokens.subarray(from, from + columns).includes(token)) break;
        path.push(token);
      }
      return chain(path);
    },
  };
}

const LOOKUP_NGRAM = 3;
/** Tokens copied. */
const LOOKUP_COPY = 10;

/** A lattice without candidates, for a drafter that needs none: its rows say how deep a draft may be. */
export const BLANK_LATTICE = createLattice(LOOKUP_COPY, 1, new Uint32Array(LOOKUP_COPY), new Float32Array(LOOKUP_COPY));

/**
 * Prompt-lookup decoding (Saxena 2023), an outside baseline without heads: the earliest occurrence of
 * the last 3 tokens (else 2, else 1) in prompt and output, and a copy of the tokens that follow it, as
 * many as the lattice has rows.
 */
export function promptLookup(): Rescorer {
  const history: TokenId[] = [];
  return {
    commit(tokens) {
      for (let i = 0; i < tokens.length; i++) history.push(tokens[i]!);
    },
    draft(lattice, maxNodes) {
      const copied = Math.min(lattice.heads, maxNodes);
      for (let size = Math.min(LOOKUP_NGRAM, history.length - 1); size > 0; size--) {
        const at = firstMatch(history, size);
        if (at >= 0) return chain(history.slice(at + size, at + size + copied));
      }
      return EMPTY_TREE;
    },
  };
}

/** Where the last `size` tokens first occur before their own place, or -1. */
function firstMatch(history: readonly TokenId[], size: number): number {
  const tail = history.length - size;
  for (let at = 0; at < tail; at++) {
    let same = 0;
    while (same < size && history[at + same] === history[tail + same]) same++;
    if (same === size) return at;
  }
  return -1;
}
