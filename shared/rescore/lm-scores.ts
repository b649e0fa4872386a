import type { TokenId } from "../ids.ts";
import { CODES } from "../ngram/layout.ts";
import type { LmState, NgramModel } from "../ngram/model.ts";
import { edgeScore } from "./lattice-columns.ts";
import type { Workspace } from "./workspace.ts";

/** The LM's part of edge scores, alpha included, from the pack's tables converted once per model and alpha. */
export function createLmScores(work: Workspace) {
  const { probUnits, backoffUnits } = work;
  let alpha = -1;
  let { probs, bigrams } = work.model.arrays;
  let vocabSize = 0;
  /** Where a bigram's two codes hold the bound at this order: at order 2 there is no longer history. */
  let boundShift = 0;

  /** Chooses the model and its weight. */
  function useModel(model: NgramModel, weight: number): void {
    if (model === work.model && weight === alpha) return;
    const { probTable, backoffTable, excessUnit } = model.arrays;
    work.model = model;
    alpha = weight;
    probs = model.arrays.probs;
    bigrams = model.arrays.bigrams;
    vocabSize = model.shape.vocabSize;
    boundShift = model.order === 2 ? 0 : 8;
    let mostBackoff = 0;
    for (let code = 0; code < CODES; code++) {
      probUnits[code] = edgeScore(alpha, 0, probTable[code]!);
      backoffUnits[code] = edgeScore(alpha, 0, backoffTable[code]!);
      mostBackoff = Math.max(mostBackoff, backoffUnits[code]!);
    }
    work.top = probUnits[CODES - 1]! + mostBackoff + Math.ceil(edgeScore(alpha, 0, (CODES - 1) * excessUnit));
  }

  function entryScore(entry: number): number {
    return probUnits[probs[entry]!]!;
  }

  function unigramScore(token: TokenId): number {
    return probUnits[token < vocabSize ? probs[token]! : 0]!;
  }

  /** At least the score of a bigram's token after any history that ends in the bigram's context. */
  function bigramBound(entry: number): number {
    return probUnits[(bigrams[entry - vocabSize]! >>> boundShift) & 0xff]!;
  }

  function backoffScore(context: LmState): number {
    return backoffUnits[work.model.backoffCode(context)]!;
  }

  /** At least the sum of backoffs from any longer history down to a context of one token or none. */
  function excessScore(context: LmState): number {
    const excess = work.model.excess(context);
    return excess === 0 ? 0 : Math.ceil(edgeScore(alpha, 0, excess));
  }

  return { useModel, entryScore, unigramScore, bigramBound, backoffScore, excessScore };
}

export type LmScores = ReturnType<typeof createLmScores>;
