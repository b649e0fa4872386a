import type { LogProb } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { TICKS } from "../ngram/layout.ts";
import type { Workspace } from "./workspace.ts";

/**
 * Scores are sums of integers, so that they are exact, associative and tie alike on every machine: alpha counts in
 * 2^-14, LM tables in 2^-16 nat (see layout.ts), so their product, and a score, in 2^-30 nat. A head's -Infinity
 * counts as the floor: with alpha = 1 such a candidate is still the LM's to choose.
 */
const ALPHA_STEPS = 1 << 14;
const FLOOR: LogProb = -1e4;

export const alphaSteps = (alpha: number): number => Math.round(alpha * ALPHA_STEPS);

/** Units of 2^-30 nat that a nat of a head counts: (1 - alpha) of them. A whole number. */
const headWeight = (alpha: number): number => (ALPHA_STEPS - alphaSteps(alpha)) * TICKS;

/** The heads' part of an edge, (1 - alpha) log p_head. */
const headScore = (weight: number, head: LogProb): number => Math.round(weight * (head > FLOOR ? head : FLOOR));

/** One path step: (1 - alpha) log p_head + alpha log p_lm, in units of 2^-30 nat. */
export function edgeScore(alpha: number, head: LogProb, lm: LogProb): number {
  return headScore(headWeight(alpha), head) + alphaSteps(alpha) * (lm * TICKS);
}

/** Of a path step of `pair`, log p_head + alpha S, the second part in the same units; `steps`: alpha's. */
export function pairPart(steps: number, score: number): number {
  const within = score > FLOOR ? (score < -FLOOR ? score : -FLOOR) : FLOOR;
  return steps * Math.round(within * TICKS);
}

/** The candidates of a lattice in the workspace. */
export function createColumns(work: Workspace) {
  const { K, GROUP } = work;
  const { tokenAt, headAt, toGoAt, ranks, tokens, heads, toGo, ahead } = work;

  /** Copies the lattice's first columns, by rank. */
  function copyLattice(lattice: Lattice, columns: number, alpha: number): void {
    const { k, logProbs } = lattice;
    work.k = k;
    work.slots = (k + GROUP - 1) & -GROUP;
    work.columns = columns;
    const weight = headWeight(alpha);
    for (let i = 0; i < columns; i++) {
      for (let r = 0, at = i * K; r < k; r++, at++) {
        const token = lattice.tokens[i * k + r]!;
        tokenAt[at] = token;
        let earlier = i * K;
        while (tokenAt[earlier] !== token) earlier++;
        headAt[at] = earlier === at ? headScore(weight, logProbs[i * k + r]!) : -Infinity;
      }
    }
  }

  /** Assigns the slots of column i from `toGoAt`. */
  function sortColumn(i: number): void {
    const first = i * K;
    const { k, slots } = work;
    for (let r = 0; r < k; r++) {
      const value = headAt[first + r]! + toGoAt[first + r]!;
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
      tokens[at] = tokenAt[from]!;
      heads[at] = headAt[from]!;
      toGo[at] = toGoAt[from]!;
    }
    // What fills up the last group is never chosen.
    for (let at = first + k; at < first + slots; at++) ahead[at] = -Infinity;
  }

  return { copyLattice, sortColumn };
}
