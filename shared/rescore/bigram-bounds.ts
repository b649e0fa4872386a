import type { Lattice } from "../lattice.ts";
import { EMPTY_STATE } from "../ngram/model.ts";
import { copyLattice, sortColumn } from "./lattice-columns.ts";
import type { LmScores } from "./lm-scores.ts";
import { GROUP, K, NONE, WORKSPACE } from "./workspace.ts";

/**
 * Upper bounds of the score from an edge on, by a bigram relaxation of the model: the pack stores, per bigram, the
 * highest probability that any longer history gives it. Rows are looked up a group of slots at a time and only as far
 * as asked for: the first slots settle most of what follows.
 */

const work = WORKSPACE;
const { tokenAt, toGoAt, tokens, unigrams, ahead } = work;
const { rowWidth, rowContext, rowBackoff, rowBackoffBound, rowBounds, rowEntries } = work;

/** Starts over with a lattice: all slots assigned, all bounds of the score to come known. */
export function resetBounds(lm: LmScores, lattice: Lattice, columns: number): void {
  copyLattice(lattice, columns, lm.alpha);
  rowWidth.fill(0);
  const { k } = work;
  for (let i = 0; i + 1 < columns; i++) for (let row = i * K; row < i * K + k; row++) locate(lm, row);
  toGoAt.fill(0, (columns - 1) * K, columns * K);
  for (let i = columns - 1; i >= 0; i--) {
    sortColumn(i);
    for (let at = i * K; at < i * K + work.slots; at++) unigrams[at] = lm.unigram(tokens[at]!);
    if (i > 0) for (let row = (i - 1) * K; row < (i - 1) * K + k; row++) relax(lm, row);
  }
}

/** Looks up the row's next group of slots. */
export function widenRow(lm: LmScores, row: number): void {
  const { model, vocabSize } = lm;
  const slot = rowWidth[row]!;
  const next = ((row / K) | 0) * K + K + slot;
  const first = row * K + slot;
  rowWidth[row] = slot + GROUP;
  model.findBigrams(rowContext[row]!, tokens, next, rowEntries, first);
  const backoff = rowBackoffBound[row]!;
  for (let j = 0; j < GROUP; j++) {
    const entry = rowEntries[first + j]!;
    let bound = ahead[next + j]!;
    if (entry !== NONE) bound += lm.bigramBound(entry);
    else bound += tokens[next + j]! < vocabSize ? unigrams[next + j]! + backoff : unigrams[next + j]!;
    rowBounds[first + j] = bound;
  }
}

/** All contexts are located before the first is searched, so that the cache misses overlap. */
function locate(lm: LmScores, row: number): void {
  const token = tokenAt[row]!;
  const context = token < lm.vocabSize ? lm.model.contextOf(token) : EMPTY_STATE;
  rowContext[row] = context;
  rowBackoff[row] = lm.backoff(context);
  rowBackoffBound[row] = rowBackoff[row]! + lm.excess(context);
}

/** Sets a candidate's `toGoAt` from its row. */
function relax(lm: LmScores, row: number): void {
  const { slots, top } = work;
  const next = ((row / K) | 0) * K + K;
  let best = -Infinity;
  for (let slot = 0; slot < slots && ahead[next + slot]! + top > best; slot += GROUP) {
    widenRow(lm, row);
    for (let at = row * K + slot; at < row * K + slot + GROUP; at++) if (rowBounds[at]! > best) best = rowBounds[at]!;
  }
  toGoAt[row] = best;
}
