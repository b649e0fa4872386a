import type { TokenId } from "../ids.ts";
import { CODES } from "../ngram/layout.ts";
import type { LmState, NgramModel } from "../ngram/model.ts";
import { edgeScore } from "./lattice-columns.ts";

/** No entry, no node. */
export const NONE = -1;

/** The LM's part of edge scores, alpha included, from a pack's tables converted once. */
export class LmScores {
  readonly model: NgramModel;
  /** At least the score of any token after any history. */
  readonly top: number;
  private readonly alpha: number;
  /** [codes] */
  private readonly probUnits = new Float64Array(CODES);
  private readonly backoffUnits = new Float64Array(CODES);
  private readonly probs: Uint8Array;
  private readonly bounds: Uint8Array;
  private readonly backoffs: Uint8Array;
  private readonly vocabSize: number;

  constructor(model: NgramModel, alpha: number) {
    const { probTable, backoffTable, probs, backoffs, excessUnit } = model.arrays;
    this.model = model;
    this.alpha = alpha;
    for (let code = 0; code < CODES; code++) {
      this.probUnits[code] = edgeScore(alpha, 0, probTable[code]!);
      this.backoffUnits[code] = edgeScore(alpha, 0, backoffTable[code]!);
    }
    this.probs = probs;
    this.bounds = model.bigramBounds();
    this.backoffs = backoffs;
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

  /** At least the score of a bigram's token after any history that ends in the bigram's context. */
  bigramBound(entry: number): number {
    return this.probUnits[this.bounds[entry - this.vocabSize]!]!;
  }

  backoff(context: LmState): number {
    return this.backoffUnits[this.backoffs[context]!]!;
  }

  /** At least the sum of backoffs from any longer history down to a context of one token or none. */
  excess(context: LmState): number {
    const excess = this.model.excess(context);
    return excess === 0 ? 0 : Math.ceil(edgeScore(this.alpha, 0, excess));
  }
}
