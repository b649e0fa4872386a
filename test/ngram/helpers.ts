import { countWindows, type NgramCounts } from "../../train/ngram/counts.ts";
import { adjustedCounts, estimate } from "../../train/ngram/kneser-ney.ts";
import { occurrences, selectByCount } from "../../train/ngram/select.ts";
import type { NgramTable } from "../../train/ngram/table.ts";
import { SEPARATOR } from "../../train/ngram/token-file.ts";

export const HASH = "ab".repeat(32);

/** Deterministic numbers in [0, 1). */
export function prng(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Documents with Zipf-like tokens in which some pairs recur, so that every order has something to say. */
function toyTokens(
  random: () => number,
  vocabSize: number,
  documents: number,
  length: number,
): Uint16Array<ArrayBuffer> {
  const out: number[] = [];
  for (let d = 0; d < documents; d++) {
    let last = 0;
    for (let i = 0; i < length; i++) {
      const follow = random() < 0.5;
      last = follow ? (last * 7 + 3) % vocabSize : Math.floor(vocabSize * random() ** 2);
      out.push(last);
    }
    out.push(SEPARATOR);
  }
  return Uint16Array.from(out);
}

export interface Toy {
  readonly tokens: Uint16Array<ArrayBuffer>;
  readonly levels: readonly NgramCounts[];
  readonly occurred: readonly Uint32Array[];
  readonly table: NgramTable;
}

export interface ToyOptions {
  readonly seed: number;
  readonly order: number;
  readonly vocabSize: number;
  readonly thresholds?: readonly number[];
  readonly documents?: number;
  readonly length?: number;
}

/** A small model trained from scratch. */
export function toyModel({ seed, order, vocabSize, thresholds, documents = 6, length = 80 }: ToyOptions): Toy {
  const tokens = toyTokens(prng(seed), vocabSize, documents, length);
  const top = countWindows([{ tokens, weight: 1, split: null }], order, vocabSize);
  const levels = adjustedCounts(top, null);
  const occurred = occurrences(levels, vocabSize);
  const kept = selectByCount(levels, occurred, thresholds ?? Array<number>(order).fill(0), vocabSize);
  return { tokens, levels, occurred, table: estimate(levels, kept, vocabSize) };
}
