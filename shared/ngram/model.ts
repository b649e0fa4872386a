import { assert } from "../assert.ts";
import type { Kind, LogProb, TokenId } from "../ids.ts";
import { CODES, type PackShape } from "./layout.ts";

/**
 * What the model remembers of a history: the number of the longest context of the pack that the history ends
 * in, at most order - 1 tokens. Histories with equal states score every continuation alike, so they may be merged.
 */
export type LmState = Kind<"n-gram state">;

/** The empty history. */
export const EMPTY_STATE: LmState = 0;

/** Sections of a pack as views; see layout.ts. */
export interface PackSections {
  readonly probTable: Float32Array;
  readonly backoffTable: Float32Array;
  readonly marks: Uint32Array;
  readonly childLow: Uint16Array;
  readonly childHigh: Uint8Array;
  readonly suffixLow: Uint16Array;
  readonly suffixHigh: Uint8Array;
  readonly backoffs: Uint8Array;
  readonly words: Uint16Array | Uint32Array;
  readonly probs: Uint8Array;
  readonly bounds: Uint8Array;
  readonly excess: Uint8Array;
  readonly excessUnit: number;
}

/** Made from the sections on loading, so that a lookup touches fewer cache lines. */
export interface DerivedArrays {
  /** [2 * (contexts + 1)] where its children start in `words` and, in the low byte, its backoff's code; its suffix */
  readonly contexts: Uint32Array;
  /** [bigrams] code of the probability; in the high byte that of the bound */
  readonly bigrams: Uint16Array;
  /** [one-token contexts + 1] where the context's row in `dense` starts, or -1 for those without */
  readonly denseAt: Int32Array;
  /** Rows of pairs, one per 32 tokens: which of them are children (bits); the first one's index in `words` */
  readonly dense: Uint32Array;
}

export type PackArrays = PackSections & DerivedArrays;

/**
 * A backoff n-gram model over a pack: log p(w | h) is the entry's log-probability where h w is in the pack, else
 * backoff(h) + log p(w | h without its oldest token). Nothing is allocated after construction.
 */
export class NgramModel {
  readonly shape: PackShape;
  readonly arrays: PackArrays;
  /** Histories are cut to order - 1 tokens. */
  readonly order: number;
  /** State after the last scored token. */
  next: LmState = EMPTY_STATE;
  /** Order of the n-gram that gave the last score: 1 = unigram. */
  matched = 0;
  /** Contexts from here on are longer than this order allows. */
  private readonly limit: number;
  readonly vocabSize: number;
  /** @param order at most the pack's: a pack serves lower orders too, by shorter histories. */
  constructor(shape: PackShape, arrays: PackArrays, order: number = shape.order) {
    assert(order >= 1 && order <= shape.order, `order ${order} of a pack of order ${shape.order}`);
    this.shape = shape;
    this.arrays = arrays;
    this.order = order;
    this.vocabSize = shape.vocabSize;
    this.limit = shape.contexts.slice(0, order).reduce((a, b) => a + b, 0);
  }

  /** The same pack at a lower order; a pack trained at that order may predict slightly better. */
  withOrder(order: number): NgramModel {
    return order >= this.order ? this : new NgramModel(this.shape, this.arrays, order);
  }

  /** The state after `tokens`, which follow what `state` is the state after. */
  after(state: LmState, tokens: ArrayLike<TokenId>): LmState {
    // A state remembers order - 1 tokens: of a prompt only the end matters.
    const first = Math.max(0, tokens.length - (this.order - 1));
    let reached = first > 0 ? EMPTY_STATE : state;
    for (let i = first; i < tokens.length; i++) {
      this.score(reached, tokens[i]!);
      reached = this.next;
    }
    return reached;
  }

  /** log p(token | state), natural log; sets `next` and `matched`. A token outside the vocabulary scores as the rarest. */
  score(state: LmState, token: TokenId): LogProb {
    const { backoffTable, probTable, probs } = this.arrays;
    if (!(token < this.vocabSize)) {
      this.next = EMPTY_STATE;
      this.matched = 0;
      return probTable[0]!;
    }
    let context = state;
    let backoff = 0;
    let entry = token;
    while (context !== 0) {
      entry = this.find(context, token);
      if (entry >= 0) break;
      backoff += backoffTable[this.backoffCode(context)]!;
      context = this.suffix(context);
    }
    if (context === 0) entry = token;
    const logProb = backoff + probTable[probs[entry]!]!;
    this.matched = this.orderOf(entry);
    let next = this.contextOf(entry);
    while (next === 0 && context !== 0) {
      context = this.suffix(context);
      next = this.contextOf(context === 0 ? token : this.find(context, token));
    }
    this.next = next;
    return logProb;
  }

  /** The entry `token` after `context`, or -1. */
  find(context: LmState, token: TokenId): number {
    const { denseAt } = this.arrays;
    const row = context < denseAt.length ? denseAt[context]! : -1;
    if (row >= 0) return this.findDense(row, token);
    return this.findBetween(this.childStart(context), this.childStart(context + 1), token);
  }

  /** As `find` for four tokens after a one-token context; see `findFour`. */
  findBigrams(context: LmState, tokens: Uint32Array, from: number, entries: Int32Array, to: number): void {
    const row = this.arrays.denseAt[context]!;
    if (row < 0) {
      this.findFour(this.childStart(context), this.childStart(context + 1), tokens, from, entries, to);
      return;
    }
    for (let j = 0; j < 4; j++) entries[to + j] = this.findDense(row, tokens[from + j]!);
  }

  private findDense(row: number, token: TokenId): number {
    const { dense } = this.arrays;
    if (token >= this.vocabSize) return -1;
    const at = row + 2 * (token >>> 5);
    const bits = dense[at]!;
    const bit = token & 31;
    return ((bits >>> bit) & 1) === 0 ? -1 : dense[at + 1]! + ones(bits & ~(-1 << bit)) + this.vocabSize;
  }

  /**
   * The entry `token` among the children of a context, which lie from `start` to before `end`, or -1. Halves without
   * branching on what is read: mispredicted branches would cost most of a lookup.
   */
  findBetween(start: number, end: number, token: TokenId): number {
    const { words } = this.arrays;
    let at = start;
    for (let left = end - start; left > 1; ) {
      const half = left >>> 1;
      at += ~((token - words[at + half]!) >> 31) & half;
      left -= half;
    }
    return start < end && words[at] === token ? at + this.vocabSize : -1;
  }

  /**
   * As `findBetween` for `tokens[from]`..`tokens[from + 3]`; writes four entries from `entries[to]` on. The searches
   * advance together, so that their cache misses overlap: one after the other they would take three times as long.
   */
  findFour(start: number, end: number, tokens: Uint32Array, from: number, entries: Int32Array, to: number): void {
    const { words } = this.arrays;
    const { vocabSize } = this;
    if (start === end) {
      entries.fill(-1, to, to + 4);
      return;
    }
    const token0 = tokens[from]! | 0;
    const token1 = tokens[from + 1]! | 0;
    const token2 = tokens[from + 2]! | 0;
    const token3 = tokens[from + 3]! | 0;
    let at0 = start;
    let at1 = start;
    let at2 = start;
    let at3 = start;
    for (let left = end - start; left > 1; ) {
      const half = left >>> 1;
      at0 += ~((token0 - words[at0 + half]!) >> 31) & half;
      at1 += ~((token1 - words[at1 + half]!) >> 31) & half;
      at2 += ~((token2 - words[at2 + half]!) >> 31) & half;
      at3 += ~((token3 - words[at3 + half]!) >> 31) & half;
      left -= half;
    }
    entries[to] = words[at0] === token0 ? at0 + vocabSize : -1;
    entries[to + 1] = words[at1] === token1 ? at1 + vocabSize : -1;
    entries[to + 2] = words[at2] === token2 ? at2 + vocabSize : -1;
    entries[to + 3] = words[at3] === token3 ? at3 + vocabSize : -1;
  }

  /** Where the context's children start in `arrays.words`; those of the empty context are not in it. */
  childStart(context: LmState): number {
    return this.arrays.contexts[2 * context]! >>> 8;
  }

  /** Code of the context's backoff weight. */
  backoffCode(context: LmState): number {
    return this.arrays.contexts[2 * context]! & 0xff;
  }

  /** The context without its oldest token. */
  suffix(context: LmState): LmState {
    return this.arrays.contexts[2 * context + 1]!;
  }

  /** The number of the context that `entry` (-1: none) is, or 0 where it is none at this order. */
  contextOf(entry: number): LmState {
    const { marks } = this.arrays;
    const block = 3 * (entry >> 6);
    if (entry < 0 || block >= marks.length) return 0;
    const bit = entry & 31;
    const word = marks[block + 1 + ((entry >>> 5) & 1)]!;
    if (((word >>> bit) & 1) === 0) return 0;
    let context = marks[block]! + ones(word & ((1 << bit) - 1));
    if ((entry & 32) !== 0) context += ones(marks[block + 1]!);
    return context < this.limit ? context : 0;
  }

  /** At least the sum of backoff weights from any longer history down to a context of at most one token. */
  excess(context: LmState): LogProb {
    return context === EMPTY_STATE ? 0 : this.arrays.excess[context - 1]! * this.arrays.excessUnit;
  }

  private orderOf(entry: number): number {
    const { entries } = this.shape;
    let order = 1;
    for (let end = entries[0]!; entry >= end; end += entries[order - 1]!) order++;
    return order;
  }
}

/** Knows no token: all score 0 after any history. */
export const EMPTY_MODEL = new NgramModel(
  { order: 2, vocabSize: 0, entries: [0, 0], contexts: [1, 0] },
  {
    probTable: new Float32Array(CODES),
    backoffTable: new Float32Array(CODES),
    marks: new Uint32Array(0),
    childLow: new Uint16Array(2),
    childHigh: new Uint8Array(2),
    suffixLow: new Uint16Array(1),
    suffixHigh: new Uint8Array(1),
    backoffs: new Uint8Array(1),
    words: new Uint16Array(0),
    probs: new Uint8Array(0),
    bounds: new Uint8Array(0),
    excess: new Uint8Array(0),
    excessUnit: 0,
    contexts: new Uint32Array(4),
    bigrams: new Uint16Array(0),
    denseAt: new Int32Array(1).fill(-1),
    dense: new Uint32Array(0),
  },
);

/** Set bits of a 32-bit word. */
export function ones(word: number): number {
  let n = word - ((word >>> 1) & 0x55555555);
  n = (n & 0x33333333) + ((n >>> 2) & 0x33333333);
  return Math.imul((n + (n >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
