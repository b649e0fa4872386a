import { countTokens, eachDocument, SEPARATOR, type TokenSource } from "./token-file.ts";

/** A key packs up to four 16-bit tokens. */
export const MAX_TRAINED_ORDER = 4;

/**
 * Distinct n-grams of one order, ascending. Token i of a key, from the newest: 16 bits each, lowest first, so
 * that sorting keys sorts n-grams lexicographically.
 */
export interface NgramCounts {
  readonly order: number;
  readonly count: number;
  /** [2 * count] low and high halves of the 64-bit keys */
  readonly keys: Uint32Array;
  /** [count] */
  readonly counts: Uint32Array;
}

/** Stands before a document: n-grams led by it lend their suffixes a left context, and are no n-grams themselves. */
export const boundaryToken = (vocabSize: number): number => vocabSize;

/**
 * Counts every window of `order` tokens, documents padded on the left by the boundary token. Memory: 8 bytes a
 * token plus 4 an n-gram (1.2 GB for 100 M tokens at worst).
 */
export function countWindows(sources: readonly TokenSource[], order: number, vocabSize: number): NgramCounts {
  if (order < 2 || order > MAX_TRAINED_ORDER)
    throw new Error(`order ${order}: training knows 2 to ${MAX_TRAINED_ORDER}`);
  if (vocabSize >= SEPARATOR) throw new Error(`vocabulary of ${vocabSize}: training knows at most ${SEPARATOR - 1}`);
  const keys = new BigUint64Array(countTokens(sources));
  const halves = new Uint32Array(keys.buffer);
  const boundary = boundaryToken(vocabSize);
  const padLow = boundary | (boundary << 16);
  const highMask = order === 4 ? 0xffffffff : order === 3 ? 0xffff : 0;
  let at = 0;
  for (const source of sources) {
    const { tokens } = source;
    eachDocument(source, (start, end) => {
      for (let repeat = 0; repeat < source.weight; repeat++) {
        let low = padLow;
        let high = padLow & highMask;
        for (let i = start; i < end; i++) {
          const token = tokens[i]!;
          if (token >= vocabSize) throw new Error(`token ${token} outside the vocabulary of ${vocabSize}`);
          high = ((high << 16) | (low >>> 16)) & highMask;
          low = (low << 16) | token;
          halves[at] = low;
          halves[at + 1] = high;
          at += 2;
        }
      }
    });
  }
  return countKeys(keys, order);
}

/**
 * Counts the n-grams of one order less by the distinct tokens that precede them: Kneser-Ney's adjusted counts.
 * `repeats(i)` says how often n-gram i of `longer` counts for its suffix: 1, or more for one left out of the model.
 */
export function countSuffixes(longer: NgramCounts, repeats: (i: number) => number): NgramCounts {
  let total = 0;
  for (let i = 0; i < longer.count; i++) total += repeats(i);
  const order = longer.order - 1;
  const keys = new BigUint64Array(total);
  const halves = new Uint32Array(keys.buffer);
  const lowMask = order === 1 ? 0xffff : 0xffffffff;
  const highMask = order === 3 ? 0xffff : 0;
  let at = 0;
  for (let i = 0; i < longer.count; i++) {
    const low = longer.keys[2 * i]! & lowMask;
    const high = longer.keys[2 * i + 1]! & highMask;
    for (let n = repeats(i); n > 0; n--) {
      halves[at] = low;
      halves[at + 1] = high;
      at += 2;
    }
  }
  return countKeys(keys, order);
}

/** Sorts keys and counts equal ones; takes over their buffer. */
function countKeys(sorted: BigUint64Array<ArrayBuffer>, order: number): NgramCounts {
  sorted.sort();
  const halves = new Uint32Array(sorted.buffer);
  let count = 0;
  for (let i = 0; i < halves.length; i += 2) {
    if (i === 0 || halves[i] !== halves[i - 2] || halves[i + 1] !== halves[i - 1]) count++;
  }
  const counts = new Uint32Array(count);
  let at = -1;
  for (let i = 0, low = -1, high = -1; i < halves.length; i += 2) {
    // The last key is held apart: compaction overwrites what lies behind the read position.
    if (halves[i] !== low || halves[i + 1] !== high) {
      low = halves[i]!;
      high = halves[i + 1]!;
      at++;
      halves[2 * at] = low;
      halves[2 * at + 1] = high;
    }
    counts[at] = counts[at]! + 1;
  }
  return { order, count, counts, keys: new Uint32Array(sorted.buffer.transfer(8 * count)) };
}

/** Token `age` of n-gram i, 0 = newest. */
export function tokenAt(level: NgramCounts, i: number, age: number): number {
  const half = level.keys[2 * i + (age >> 1)]!;
  return (age & 1) === 0 ? half & 0xffff : half >>> 16;
}
