import type { TokenId } from "../ids.ts";
import { CODES } from "../ngram/layout.ts";
import { EMPTY_MODEL, type LmState, type NgramModel } from "../ngram/model.ts";
import { edgeScore } from "./lattice-columns.ts";

/** No entry, no node. */
export const NONE = -1;

/** The LM's part of edge scores, alpha included, from a pack's tables converted once. */
export class LmScores {
  readonly model: NgramModel;
  /** At least the score of any token after any history. */
  readonly top: number;
  readonly alpha: number;
  /** [codes] */
  private readonly probUnits = new Float64Array(CODES);
  private readonly backoffUnits = new Float64Array(CODES);
  private readonly probs: Uint8Array;
  private readonly bigrams: Uint16Array;
  /** Where a bigram's two codes hold the bound at this order: at order 2 there is no longer history. */
  private readonly boundShift: number;
  private readonly vocabSize: number;

  constructor(model: NgramModel, alpha: number) {
    const { probTable, backoffTable, probs, bigrams, excessUnit } = model.arrays;
    this.model = model;
    this.alpha = alpha;
    for (let code = 0; code < CODES; code++) {
      this.probUnits[code] = edgeScore(alpha, 0, probTable[code]!);
      this.backoffUnits[code] = edgeScore(alpha, 0, backoffTable[code]!);
    }
    this.probs = probs;
    this.bigrams = bigrams;
    this.boundShift = model.order === 2 ? 0 : 8;
    this.vocabSize = model.shape.vocabSize;
    const excess = Math.ceil(edgeScore(alpha, 0, (CODES - 1) * excessUnit));
    this.top = this.probUnits[CODES - 1]! + Math.max(0, ...this.backoffUnits) + excess;
  }

  unigram(token: TokenId): number {
    return this.probUnits[token < this.vocabSize ? this.probs[token]! : 0]!;
  }

  entry(entry: number): number {
    return this.probUnits[this.probs[entry]!]!;
  }

  bigram(entry: number): number {
    return this.probUnits[this.bigrams[entry - this.vocabSize]! & 0xff]!;
  }

  /** At least the score of a bigram's token after any history that ends in the bigram's context. */
  bigramBound(entry: number): number {
    return this.probUnits[(this.bigrams[entry - this.vocabSize]! >>> this.boundShift) & 0xff]!;
  }

  backoff(context: LmState): number {
    return this.backoffUnits[this.model.backoffCode(context)]!;
  }

  /** At least the sum of backoffs from any longer history down to a context of one token or none. */
  excess(context: LmState): number {
    const excess = this.model.excess(context);
    return excess === 0 ? 0 : Math.ceil(edgeScore(this.alpha, 0, excess));
  }
}

/** Of alpha = 0: the heads alone decide. */
export const NO_LM = new LmScores(EMPTY_MODEL, 0);

let last = NO_LM;

/** As `new LmScores`; requests that ask for the same model and alpha share its tables. */
export function lmScores(model: NgramModel, alpha: number): LmScores {
  const same = last.model.arrays === model.arrays && last.model.order === model.order && last.alpha === alpha;
  if (!same) last = new LmScores(model, alpha);
  return last;
}
