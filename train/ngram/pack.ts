import {
  CODES,
  COMPLETE,
  MAGIC,
  MAX_ENTRIES,
  OFFSET,
  PACK_VERSION,
  type PackLayout,
  type PackShape,
  packChecksum,
  packLayout,
  TICKS,
} from "../../shared/ngram/layout.ts";
import { ceilingCode, fitCodebook, nearestCode } from "./codebook.ts";
import type { NgramTable } from "./table.ts";

/** Rounding margin of bounds that sum several weights. */
const MARGIN = 1e-4;

/** Which entries, per order below the top, are contexts: they have children, or a backoff weight, or a longer context ends in them. */
function markContexts(table: NgramTable): Uint8Array[] {
  const marks = table.levels
    .slice(0, -1)
    .map(({ count, firstChild, logBackoffs }) =>
      Uint8Array.from({ length: count }, (_, i) =>
        firstChild[i + 1]! > firstChild[i]! || logBackoffs[i] !== 0 ? 1 : 0,
      ),
    );
  for (let n = marks.length - 1; n > 0; n--) {
    const { suffixes } = table.levels[n]!;
    for (let i = 0; i < suffixes.length; i++) if (marks[n]![i] === 1) marks[n - 1]![suffixes[i]!] = 1;
  }
  return marks;
}

/** The pack file of a table. `tokenizerHash`: hex SHA-256 of tokenizer.json. */
export function writePack(table: NgramTable, tokenizerHash: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/.test(tokenizerHash)) throw new Error(`tokenizer hash ${tokenizerHash}: expected 64 hex digits`);
  const marks = markContexts(table);
  const counts = marks.map((flags) => flags.reduce((a, b) => a + b, 0));
  const shape: PackShape = {
    order: table.order,
    vocabSize: table.vocabSize,
    entries: table.levels.map((level) => level.count),
    contexts: [1, ...counts],
  };
  const layout = packLayout(shape);
  if (layout.entryCount >= MAX_ENTRIES)
    throw new Error(`${layout.entryCount} n-grams, a pack holds fewer than ${MAX_ENTRIES}`);
  const bytes = new Uint8Array(layout.fileBytes);
  const trie = writeTrie(table, marks, layout, bytes);
  writeProbabilities(table, shape, layout, bytes, trie);
  writeHeader(shape, layout, bytes, tokenizerHash);
  return bytes;
}

interface Trie {
  /** [order - 1] per order: context number of each entry, 0 for none */
  readonly contextOf: Uint32Array[];
  /** [contexts] */
  readonly suffix: Uint32Array;
}

function writeTrie(table: NgramTable, marks: readonly Uint8Array[], layout: PackLayout, bytes: Uint8Array): Trie {
  const { at, contextCount, entryCount } = layout;
  const words =
    layout.wordBytes === 2 ? new Uint16Array(bytes.buffer, at.words) : new Uint32Array(bytes.buffer, at.words);
  const blocks = new Uint32Array(bytes.buffer, at.marks, 3 * layout.blocks);
  const childLow = new Uint16Array(bytes.buffer, at.childLow);
  const suffixLow = new Uint16Array(bytes.buffer, at.suffixLow);
  const suffix = new Uint32Array(contextCount);
  const contextOf: Uint32Array[] = [];
  const setStart = (context: number, start: number) => {
    childLow[context] = start & 0xffff;
    bytes[at.childHigh + context] = start >>> 16;
  };
  let context = 1;
  let firstEntry = 0;
  setStart(0, 0);
  table.levels.forEach((level, n) => {
    if (n > 0) words.set(level.words, firstEntry - table.vocabSize);
    const flags = marks[n];
    if (flags) {
      const numbers = new Uint32Array(level.count);
      for (let i = 0; i < level.count; i++) {
        const entry = firstEntry + i;
        const block = 3 * (entry >> 6);
        if ((entry & 63) === 0) blocks[block] = context;
        if (flags[i] === 0) continue;
        blocks[block + 1 + ((entry >> 5) & 1)]! |= 1 << (entry & 31);
        setStart(context, firstEntry + level.count + level.firstChild[i]!);
        suffix[context] = n === 0 ? 0 : contextOf[n - 1]![level.suffixes[i]!]!;
        suffixLow[context] = suffix[context]! & 0xffff;
        bytes[at.suffixHigh + context] = suffix[context]! >>> 16;
        numbers[i] = context++;
      }
      contextOf.push(numbers);
    }
    firstEntry += level.count;
  });
  setStart(contextCount, entryCount);
  return { contextOf, suffix };
}

function toTicks(table: Float32Array): Float32Array {
  return table.map((value) => Math.round(value * TICKS) / TICKS);
}

/** Quantises, then bounds what the quantised model can say. */
function writeProbabilities(
  table: NgramTable,
  shape: PackShape,
  layout: PackLayout,
  bytes: Uint8Array,
  trie: Trie,
): void {
  const { at, contextCount } = layout;
  const { contextOf, suffix } = trie;
  // The last code is kept for bounds above every probability.
  const fitted = toTicks(
    fitCodebook(
      table.levels.map((level) => level.logProbs),
      0,
      CODES - 1,
    ),
  );
  const probTable = Float32Array.from([...fitted, 0]);
  const backoffTable = toTicks(
    fitCodebook(
      table.levels.slice(0, -1).map((level) => level.logBackoffs),
      0,
    ),
  );
  const backoff = new Float64Array(contextCount);
  bytes[at.backoffs] = nearestCode(backoffTable, 0);
  contextOf.forEach((numbers, n) => {
    for (let i = 0; i < numbers.length; i++) {
      if (numbers[i] === 0) continue;
      const code = nearestCode(backoffTable, table.levels[n]!.logBackoffs[i]!);
      bytes[at.backoffs + numbers[i]!] = code;
      backoff[numbers[i]!] = backoffTable[code]!;
    }
  });
  // Longer contexts come later, so one backward pass carries every chain of weights down to its shorter ones.
  const above = new Float64Array(contextCount);
  for (let c = contextCount - 1; c > 0; c--) {
    if (suffix[c] !== 0) above[suffix[c]!] = Math.max(above[suffix[c]!]!, backoff[c]! + above[c]!);
  }
  const bound = new Float64Array(shape.entries[1]!).fill(-Infinity);
  let base: Uint32Array = new Uint32Array(0);
  let entry = 0;
  table.levels.forEach((level, n) => {
    const bigram = new Uint32Array(level.count);
    for (let i = 0; i < level.count; i++) {
      const code = nearestCode(fitted, level.logProbs[i]!);
      bytes[at.probs + entry++] = code;
      if (n === 0) continue;
      bigram[i] = n === 1 ? i : base[level.suffixes[i]!]!;
      const excess = above[contextOf[n - 1]![level.parents[i]!]!]!;
      const value = probTable[code]! + (excess > 0 ? excess + MARGIN : 0);
      if (value > bound[bigram[i]!]!) bound[bigram[i]!] = value;
    }
    base = bigram;
  });
  probTable[CODES - 1] = Math.ceil(bound.reduce((a, b) => Math.max(a, b), 0) * TICKS) / TICKS;
  for (let i = 0; i < bound.length; i++) bytes[at.bounds + i] = ceilingCode(probTable, bound[i]!);
  const excessUnit = Math.fround(
    (above.subarray(1, shape.contexts[1]! + 1).reduce((x, y) => Math.max(x, y), 0) + MARGIN) / 254,
  );
  for (let c = 1; c <= shape.contexts[1]!; c++) {
    bytes[at.excess + c - 1] = above[c] === 0 ? 0 : Math.ceil((above[c]! + MARGIN) / excessUnit);
  }
  new Float32Array(bytes.buffer, at.probTable, CODES).set(probTable);
  new Float32Array(bytes.buffer, at.backoffTable, CODES).set(backoffTable);
  new DataView(bytes.buffer).setFloat32(OFFSET.excessUnit, excessUnit, true);
}

function writeHeader(shape: PackShape, layout: PackLayout, bytes: Uint8Array, tokenizerHash: string): void {
  const view = new DataView(bytes.buffer);
  const put = (offset: number, value: number) => view.setUint32(offset, value, true);
  put(OFFSET.magic, MAGIC);
  put(OFFSET.version, PACK_VERSION);
  put(OFFSET.complete, COMPLETE);
  put(OFFSET.order, shape.order);
  put(OFFSET.vocabSize, shape.vocabSize);
  shape.entries.forEach((count, n) => put(OFFSET.entries + 4 * n, count));
  shape.contexts.slice(1).forEach((count, n) => put(OFFSET.contexts + 4 * n, count));
  put(OFFSET.fileBytes, layout.fileBytes);
  bytes.set(Buffer.from(tokenizerHash, "hex"), OFFSET.tokenizerHash);
  const [a, b] = packChecksum(new Uint32Array(bytes.buffer));
  put(OFFSET.checksum, a);
  put(OFFSET.checksum + 4, b);
}
