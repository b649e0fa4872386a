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
  /** [columns * K] ranks by rising token, repeated tokens left out; `distinct` of them per column */
  readonly byToken = new Uint8Array(COLUMNS * K);
  readonly distinct = new Uint8Array(COLUMNS);
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
    const { model, tokens, byToken } = this;
    const { k } = lattice;
    const base = i * K;
    let distinct = 0;
    for (let r = 0; r < k; r++) {
      const token = lattice.tokens[i * k + r]!;
      tokens[base + r] = token;
      this.heads[base + r] = -Infinity;
      this.known[base + r] = model?.has(token) ? 1 : 0;
      this.unigrams[base + r] = model === null ? 0 : edgeScore(this.alpha, 0, model.score(EMPTY_STATE, token));
      this.contexts[base + r] = model?.has(token) ? model.contextOf(token) : EMPTY_STATE;
      let at = distinct;
      while (at > 0 && tokens[base + byToken[base + at - 1]!]! > token) at--;
      if (at > 0 && tokens[base + byToken[base + at - 1]!] === token) continue;
      for (let j = distinct; j > at; j--) byToken[base + j] = byToken[base + j - 1]!;
      byToken[base + at] = r;
      this.heads[base + r] = headScore(this.alpha, lattice.logProbs[i * k + r]!);
      distinct++;
    }
    this.distinct[i] = distinct;
  }
}
