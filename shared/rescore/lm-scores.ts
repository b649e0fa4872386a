import { CODES } from "../ngram/layout.ts";
import { EMPTY_MODEL, type LmState, type NgramModel } from "../ngram/model.ts";
import { edgeScore } from "./lattice-columns.ts";
import { WORKSPACE } from "./workspace.ts";

const { probUnits, backoffUnits } = WORKSPACE;

/** The LM's part of edge scores, alpha included. Its tables are the workspace's: `use` fills them. */
export class LmScores {
  readonly model: NgramModel;
  readonly alpha: number;
  readonly vocabSize: number;
  private readonly probs: Uint8Array;
  private readonly bigrams: Uint16Array;
  /** Where a bigram's two codes hold the bound at this order: at order 2 there is no longer history. */
  private readonly boundShift: number;

  constructor(model: NgramModel, alpha: number) {
    this.model = model;
    this.alpha = alpha;
    this.vocabSize = model.shape.vocabSize;
    this.probs = model.arrays.probs;
    this.bigrams = model.arrays.bigrams;
    this.boundShift = model.order === 2 ? 0 : 8;
  }

  /** To be called before a search. */
  use(): void {
    if (current === this) return;
    current = this;
    const { probTable, backoffTable, excessUnit } = this.model.arrays;
    for (let code = 0; code < CODES; code++) {
      probUnits[code] = edgeScore(this.alpha, 0, probTable[code]!);
      backoffUnits[code] = edgeScore(this.alpha, 0, backoffTable[code]!);
    }
    const excess = Math.ceil(edgeScore(this.alpha, 0, (CODES - 1) * excessUnit));
    let backoff = 0;
    for (let code = 0; code < CODES; code++) backoff = Math.max(backoff, backoffUnits[code]!);
    WORKSPACE.top = probUnits[CODES - 1]! + backoff + excess;
  }

  entry(entry: number): number {
    return probUnits[this.probs[entry]!]!;
  }

  unigram(token: number): number {
    return probUnits[token < this.vocabSize ? this.probs[token]! : 0]!;
  }

  /** At least the score of a bigram's token after any history that ends in the bigram's context. */
  bigramBound(entry: number): number {
    return probUnits[(this.bigrams[entry - this.vocabSize]! >>> this.boundShift) & 0xff]!;
  }

  backoff(context: LmState): number {
    return backoffUnits[this.model.backoffCode(context)]!;
  }

  /** At least the sum of backoffs from any longer history down to a context of one token or none. */
  excess(context: LmState): number {
    const excess = this.model.excess(context);
    return excess === 0 ? 0 : Math.ceil(edgeScore(this.alpha, 0, excess));
  }
}

/** Of alpha = 0: the heads alone decide. */
export const NO_LM = new LmScores(EMPTY_MODEL, 0);

/** Whose tables the workspace holds. */
let current: LmScores | null = null;
let latest = NO_LM;

/** As `new LmScores`; requests for the same model, order and alpha share one, so that its tables are filled once. */
export function lmScores(model: NgramModel, alpha: number): LmScores {
  const { model: known } = latest;
  const same = known.arrays === model.arrays && known.order === model.order && latest.alpha === alpha;
  if (!same) latest = new LmScores(model, alpha);
  return latest;
}
