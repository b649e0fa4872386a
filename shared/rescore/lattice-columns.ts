import type { LogProb } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { TICKS } from "../ngram/layout.ts";

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

/**
 * A lattice's candidates, K to a column whatever the lattice's width. Within a column they have a *rank*, their place
 * in the lattice, and a *slot*, their place by falling `ahead`: a search that goes through slots can stop early.
 */
export class LatticeColumns {
  /** Candidates a column, and the same rounded up to whole groups of four; columns in use. */
  k = 0;
  slots = 0;
  columns = 0;
  /** [columns * K] by rank: token; the heads' part of an edge, -Infinity where an earlier rank holds the same token */
  readonly tokenAt = new Uint32Array(COLUMNS * K);
  readonly headAt = new Float64Array(COLUMNS * K);
  /** [columns * K] by slot: rank, token, heads' part, bound of the score still to come, the sum of both */
  readonly ranks = new Uint8Array(COLUMNS * K);
  readonly tokens = new Uint32Array(COLUMNS * K);
  readonly heads = new Float64Array(COLUMNS * K);
  readonly toGo = new Float64Array(COLUMNS * K);
  readonly ahead = new Float64Array(COLUMNS * K);

  copy(lattice: Lattice, columns: number, alpha: number): void {
    const { k } = lattice;
    this.k = k;
    this.slots = (k + 3) & ~3;
    this.columns = columns;
    for (let i = 0; i < columns; i++) {
      for (let r = 0, at = i * K; r < k; r++, at++) {
        const token = lattice.tokens[i * k + r]!;
        this.tokenAt[at] = token;
        let earlier = i * K;
        while (this.tokenAt[earlier] !== token) earlier++;
        this.headAt[at] = earlier === at ? headScore(alpha, lattice.logProbs[i * k + r]!) : -Infinity;
      }
    }
  }

  /** Assigns the slots of column i. @param toGo [columns * K] by rank, bound of the score still to come */
  sort(i: number, toGo: Float64Array): void {
    const { ahead, ranks, tokenAt, headAt, k } = this;
    const first = i * K;
    for (let r = 0; r < k; r++) {
      const value = headAt[first + r]! + toGo[first + r]!;
      let at = first + r;
      for (; at > first && ahead[at - 1]! < value; at--) {
        ahead[at] = ahead[at - 1]!;
        ranks[at] = ranks[at - 1]!;
      }
      ahead[at] = value;
      ranks[at] = r;
    }
    for (let at = first; at < first + k; at++) {
      const from = first + ranks[at]!;
      this.tokens[at] = tokenAt[from]!;
      this.heads[at] = headAt[from]!;
      this.toGo[at] = toGo[from]!;
    }
    // What fills up the last group of four is never chosen.
    for (let at = first + k; at < first + this.slots; at++) ahead[at] = -Infinity;
  }
}
