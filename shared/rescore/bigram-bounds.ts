import type { Lattice } from "../lattice.ts";
import { EMPTY_STATE } from "../ngram/model.ts";
import { COLUMNS, K, LatticeColumns } from "./lattice-columns.ts";
import { type LmScores, NO_LM, NONE } from "./lm-scores.ts";

/** Slots looked up together. */
export const GROUP = 4;
/** The row of the history before the first column, whose bounds are the owner's to set. */
export const ROOT_ROW = COLUMNS * K;
const ROWS = ROOT_ROW + 1;

/**
 * Upper bounds of the score from an edge on, by a bigram relaxation of the model: the pack stores, per bigram, the
 * highest probability that any longer history gives it. A *row* belongs to a candidate (column i, rank r: row
 * i * K + r) and has the next column's slots. Rows are looked up four slots at a time and only as far as asked for:
 * the first slots settle most of what follows.
 */
export class BigramBounds {
  readonly columns = new LatticeColumns();
  /** [rows * K] bound of the slot's edge and of what follows, where `width` says so */
  readonly bounds = new Float64Array(ROWS * K);
  /** [rows * K] score of the slot's edge after the candidate alone, likewise */
  readonly edges = new Float64Array(ROWS * K);
  /** [rows * K] entry of the slot's token after the candidate's, or NONE, likewise */
  readonly entries = new Int32Array(ROWS * K);
  /** [rows] slots looked up */
  readonly width = new Uint8Array(ROWS);
  /** [rows] backoff weight of the context; bound of it and of those before it on the way from a longer history */
  readonly backoff = new Float64Array(ROWS);
  private readonly backoffBound = new Float64Array(ROWS);
  /** [rows] one-token context of the candidate */
  private readonly context = new Uint32Array(COLUMNS * K);
  /** [rows] by rank: bound of the score to come after the candidate */
  private readonly toGo = new Float64Array(COLUMNS * K);
  /** [columns * K] by slot: the LM's score of the token alone */
  readonly unigrams = new Float64Array(COLUMNS * K);
  /** At least the LM's part of any edge. */
  top = 0;
  private lm = NO_LM;
  private model = NO_LM.model;

  reset(lm: LmScores, lattice: Lattice, columns: number): void {
    this.lm = lm;
    this.model = lm.model;
    this.top = lm.top;
    this.columns.copy(lattice, columns, lm.alpha);
    this.width.fill(0);
    const last = (columns - 1) * K;
    for (let i = 0; i + 1 < columns; i++) {
      for (let row = i * K; row < i * K + this.columns.k; row++) this.locate(row);
    }
    this.toGo.fill(0, last, last + K);
    for (let i = columns - 1; i > 0; i--) {
      this.sort(i);
      for (let row = (i - 1) * K; row < (i - 1) * K + this.columns.k; row++) this.relax(row, i * K);
    }
    this.sort(0);
  }

  /** Looks up the row's next four slots. */
  widen(row: number): void {
    const { columns, lm, entries, bounds, edges, unigrams } = this;
    const slot = this.width[row]!;
    const next = ((row / K) | 0) * K + K + slot;
    const first = row * K + slot;
    this.model.findBigrams(this.context[row]!, columns.tokens, next, entries, first);
    const backoff = this.backoff[row]!;
    const mostBackoff = this.backoffBound[row]!;
    for (let j = 0; j < GROUP; j++) {
      const entry = entries[first + j]!;
      const known = this.model.has(columns.tokens[next + j]!);
      const unigram = unigrams[next + j]!;
      const bound = entry === NONE ? unigram + (known ? mostBackoff : 0) : lm.bigramBound(entry);
      bounds[first + j] = columns.ahead[next + j]! + bound;
      const score = entry === NONE ? unigram + (known ? backoff : 0) : lm.bigram(entry);
      edges[first + j] = columns.heads[next + j]! + score;
    }
    this.width[row] = slot + GROUP;
  }

  /** All contexts are located before the first is searched, so that the cache misses overlap. */
  private locate(row: number): void {
    const { model } = this;
    const token = this.columns.tokenAt[row]!;
    const context = model.has(token) ? model.contextOf(token) : EMPTY_STATE;
    this.context[row] = context;
    this.backoff[row] = this.lm.backoff(context);
    this.backoffBound[row] = this.backoff[row]! + this.lm.excess(context);
  }

  private sort(i: number): void {
    const { columns, unigrams, lm } = this;
    columns.sort(i, this.toGo);
    for (let at = i * K; at < i * K + columns.slots; at++) unigrams[at] = lm.unigram(columns.tokens[at]!);
  }

  private relax(row: number, next: number): void {
    const { bounds } = this;
    const { ahead, slots } = this.columns;
    let best = -Infinity;
    for (let j = 0; j < slots && ahead[next + j]! + this.top > best; j += GROUP) {
      this.widen(row);
      for (let at = row * K + j; at < row * K + j + GROUP; at++) if (bounds[at]! > best) best = bounds[at]!;
    }
    this.toGo[row] = best;
  }
}
