/**
 * n-gram pack format v1 (`*.fdlm`), little-endian, every section on a 4-byte boundary.
 *
 * The pack is a trie in breadth-first order. *Entry* e is an n-gram: entries 0..V-1 are the unigrams (the index
 * is the token), then the bigrams sorted by (context, token), and so on. A *context* is the empty history (0) or
 * an entry that longer n-grams extend; contexts are numbered in entry order, so the children of context c are
 * the entries childStart[c]..childStart[c+1]-1. `suffix[c]` is the context without its oldest token: where
 * scoring backs off to. Closure holds: an n-gram's prefix and suffix are in the pack too.
 *
 *   header       HEADER_BYTES, see the OFFSET table
 *   probTable    f32[256]  natural log-probabilities by code, rising
 *   backoffTable f32[256]  natural log backoff weights by code
 *   marks        u32[3 * blocks]  per 64 entries below the top order: contexts before the block, then 64 bits
 *                                 saying which of them are contexts
 *   childStart   u16[C + 1] low bits, then u8[C + 1] high bits
 *   suffix       u16[C] low bits, then u8[C] high bits
 *   backoffs     u8[C]     codes
 *   words        u16 or u32[E - V]  tokens of the entries of order >= 2
 *   probs        u8[E]     codes
 *   bounds       u8[bigrams]  code of an upper bound of log p(token | any history ending in the context's token)
 *   excess       u8[C1]    per one-token context, in units of excessUnit: an upper bound of the sum of backoff
 *                          weights on the way from any longer history to it (0 where none exceeds 1)
 */
export const MAGIC = 0x4d4c4446; // "FDLM"
export const PACK_VERSION = 1;
/** Written last: a file without it was not finished. */
export const COMPLETE = 0x600df11e;
export const HEADER_BYTES = 128;
export const CODES = 256;
/** Table values are whole multiples of 1 / TICKS nat below MAX_VALUE: their sums are exact in any order. */
export const TICKS = 1 << 16;
export const MAX_VALUE = 1000;
/** Entry and context numbers take three bytes. */
export const MAX_ENTRIES = 1 << 24;
export const MIN_ORDER = 2;

/** Byte offsets in the header; all fields u32 unless noted. */
export const OFFSET = {
  magic: 0,
  version: 4,
  complete: 8,
  order: 12,
  vocabSize: 16,
  /** u32[5], entries of order 1..5 */
  entries: 20,
  /** u32[4], contexts of 1..4 tokens */
  contexts: 40,
  /** f32 */
  excessUnit: 56,
  fileBytes: 60,
  /** u32[2], over the whole file with these eight bytes left out */
  checksum: 64,
  /** u8[32] */
  tokenizerHash: 72,
} as const;

export interface PackShape {
  readonly order: number;
  readonly vocabSize: number;
  /** [order] entries of order 1..order */
  readonly entries: readonly number[];
  /** [order] contexts of 0..order-1 tokens; the first is 1 */
  readonly contexts: readonly number[];
}

export interface PackLayout {
  readonly entryCount: number;
  readonly contextCount: number;
  readonly blocks: number;
  readonly wordBytes: 2 | 4;
  /** Byte offset of each section. */
  readonly at: Readonly<Record<Section, number>>;
  readonly fileBytes: number;
}

type Section =
  | "probTable"
  | "backoffTable"
  | "marks"
  | "childLow"
  | "childHigh"
  | "suffixLow"
  | "suffixHigh"
  | "backoffs"
  | "words"
  | "probs"
  | "bounds"
  | "excess";

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Where every section of a pack of this shape lies. */
export function packLayout(shape: PackShape): PackLayout {
  const entryCount = sum(shape.entries);
  const contextCount = sum(shape.contexts);
  const blocks = Math.ceil((entryCount - shape.entries.at(-1)!) / 64);
  const wordBytes = shape.vocabSize <= 1 << 16 ? 2 : 4;
  let end = HEADER_BYTES;
  const place = (bytes: number): number => {
    const start = end;
    end = (start + bytes + 3) & ~3;
    return start;
  };
  const at = {
    probTable: place(4 * CODES),
    backoffTable: place(4 * CODES),
    marks: place(12 * blocks),
    childLow: place(2 * (contextCount + 1)),
    childHigh: place(contextCount + 1),
    suffixLow: place(2 * contextCount),
    suffixHigh: place(contextCount),
    backoffs: place(contextCount),
    words: place(wordBytes * (entryCount - shape.vocabSize)),
    probs: place(entryCount),
    bounds: place(shape.entries[1]!),
    excess: place(shape.contexts[1]!),
  };
  return { entryCount, contextCount, blocks, wordBytes, at, fileBytes: end };
}

/**
 * Two 32-bit sums over the words of a file, the checksum field left out. Each word is mixed by a bijection, so
 * no change within one word goes unnoticed.
 */
export function packChecksum(words: Uint32Array): readonly [number, number] {
  let a = 0x9e3779b9;
  let b = 0x85ebca6b;
  const skip = OFFSET.checksum / 4;
  for (let i = 0; i < words.length; i += 2) {
    if (i === skip) continue;
    a = Math.imul(a ^ words[i]!, 0x01000193);
    a ^= a >>> 15;
    b = Math.imul(b ^ (i + 1 < words.length ? words[i + 1]! : 0), 0x9e3779b1);
    b ^= b >>> 13;
  }
  return [a >>> 0, b >>> 0];
}
