import type { LogProb } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { TICKS } from "../ngram/layout.ts";
import { EMPTY_STATE, type NgramModel } from "../ngram/model.ts";

/**
 * Scores are sums of integers, so that they are exact, associative and tie alike on every machine: alpha counts in
 * 2^-14, LM tables in 2^-16 nat (see layout.ts), so their product, and a score, in 2^-30 nat. A head's -Infinity
 * counts as the floor: with alpha = 1 such a candidate is still the LM's to choose.
 */
const ALPHA_STEPS = 1 << 14;
const UNIT = TICKS * ALPHA_STEPS;
const FLOOR: LogProb = -1e4;

const alphaSteps = (alpha: number): number => Math.round(alpha * ALPHA_STEPS);

/** The heads' part of an edge: (1 - alpha) log p_head, in units of 2^-30 nat. */
function headScore(alpha: number, head: LogProb): number {
  return Math.round((1 - alphaSteps(alpha) / ALPHA_STEPS) * (head > FLOOR ? head : FLOOR) * UNIT);
}

/** One path step: (1 - alpha) log p_head + alpha log p_lm, in units of 2^-30 nat. */
export function edgeScore(alpha: number, head: LogProb, lm: LogProb): number {
  return headScore(alpha, head) + alphaSteps(alpha) * (lm * TICKS);
}

/** Row width: candidates of a column. */
export const K = LIMITS.topK;
export const COLUMNS = LIMITS.latticeHeads;

/** A lattice's candidates as the search needs them, K to a column whatever the lattice's width. */
export class LatticeColumns {
  readonly tokens = new Uint32Array(COLUMNS * K);
  /** [columns * K] the heads' part of each edge; -Infinity where an earlier rank holds the same token */
  readonly heads = new Float64Array(COLUMNS * K);
  /** [columns * K] the LM's score of the token alone */
  readonly unigrams = new Float64Array(COLUMNS * K);
  /** [columns * K] 0 for a token outside the model's vocabulary, which scores the same after any history; else 1 */
  readonly known = new Float64Array(COLUMNS * K);
  /** [columns * K] one-token context of each candidate */
  readonly contexts = new Uint32Array(COLUMNS * K);
  private readonly model: NgramModel | null;
  private readonly alpha: number;

  constructor(model: NgramModel | null, alpha: number) {
    this.model = model;
    this.alpha = alpha;
  }

  copy(lattice: Lattice, columns: number): void {
    for (let i = 0; i < columns; i++) this.copyColumn(lattice, i);
  }

  private copyColumn(lattice: Lattice, i: number): void {
    const { model, alpha, tokens } = this;
    const { k } = lattice;
    for (let r = 0, at = i * K; r < k; r++, at++) {
      const token = lattice.tokens[i * k + r]!;
      tokens[at] = token;
      let earlier = i * K;
      while (tokens[earlier] !== token) earlier++;
      this.heads[at] = earlier === at ? headScore(alpha, lattice.logProbs[i * k + r]!) : -Infinity;
      const known = model?.has(token) ?? false;
      this.known[at] = known ? 1 : 0;
      this.unigrams[at] = model === null ? 0 : edgeScore(alpha, 0, model.unigram(token));
      this.contexts[at] = model !== null && known ? model.contextOf(token) : EMPTY_STATE;
    }
  }
}
