import type { Lattice } from "../lattice.ts";
import { EMPTY_STATE } from "../ngram/model.ts";
import { createColumns } from "./lattice-columns.ts";
import type { LmScores } from "./lm-scores.ts";
import type { Workspace } from "./workspace.ts";

/**
 * Upper bounds of the score from an edge on, by a bigram relaxation of the model: the pack stores, per bigram, the
 * highest probability that any longer history gives it. Rows are looked up a group of slots at a time and only as far
 * as asked for: the first slots settle most of what follows.
 */
export function createBounds(work: Workspace, scores: LmScores) {
  const { K, GROUP, NONE } = work;
  const { tokenAt, toGoAt, tokens, unigrams, ahead } = work;
  const { rowWidth, rowContext, rowBackoff, rowBackoffBound, rowBounds, rowEntries } = work;
  const { unigramScore, bigramBound, backoffScore, excessScore } = scores;
  const { copyLattice, sortColumn } = createColumns(work);

  /** Starts over with a lattice: all slots assigned, all bounds of the score to come known. */
  function resetBounds(lattice: Lattice, columns: number, alpha: number): void {
    copyLattice(lattice, columns, alpha);
    rowWidth.fill(0);
    const { k } = work;
    for (let i = 0; i + 1 < columns; i++) for (let row = i * K; row < i * K + k; row++) locate(row);
    toGoAt.fill(0, (columns - 1) * K, columns * K);
    for (let i = columns - 1; i >= 0; i--) {
      sortColumn(i);
      for (let at = i * K; at < i * K + work.slots; at++) unigrams[at] = unigramScore(tokens[at]!);
      if (i > 0) for (let row = (i - 1) * K; row < (i - 1) * K + k; row++) relax(row);
    }
  }

  /** Looks up the row's next group of slots. */
  function widenRow(row: number): void {
    const { model } = work;
    const { vocabSize } = model;
    const slot = rowWidth[row]!;
    const next = ((row / K) | 0) * K + K + slot;
    const first = row * K + slot;
    rowWidth[row] = slot + GROUP;
    model.findBigrams(rowContext[row]!, tokens, next, rowEntries, first);
    const backoff = rowBackoffBound[row]!;
    for (let j = 0; j < GROUP; j++) {
      const entry = rowEntries[first + j]!;
      let bound = ahead[next + j]!;
      if (entry !== NONE) bound += bigramBound(entry);
      else bound += tokens[next + j]! < vocabSize ? unigrams[next + j]! + backoff : unigrams[next + j]!;
      rowBounds[first + j] = bound;
    }
  }

  /** All contexts are located before the first is searched, so that the cache misses overlap. */
  function locate(row: number): void {
    const token = tokenAt[row]!;
    const context = token < work.model.vocabSize ? work.model.contextOf(token) : EMPTY_STATE;
    rowContext[row] = context;
    rowBackoff[row] = backoffScore(context);
    rowBackoffBound[row] = rowBackoff[row]! + excessScore(context);
  }

  /** Sets a candidate's `toGoAt` from its row. */
  function relax(row: number): void {
    const { slots, top } = work;
    const next = ((row / K) | 0) * K + K;
    let best = -Infinity;
    for (let slot = 0; slot < slots && ahead[next + slot]! + top > best; slot += GROUP) {
      widenRow(row);
      for (let at = row * K + slot; at < row * K + slot + GROUP; at++) if (rowBounds[at]! > best) best = rowBounds[at]!;
    }
    toGoAt[row] = best;
  }

  return { resetBounds, widenRow };
}
