import { StepError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { derive } from "./derived.ts";
import {
  CODES,
  COMPLETE,
  HEADER_BYTES,
  MAGIC,
  MAX_ENTRIES,
  MAX_VALUE,
  MIN_ORDER,
  OFFSET,
  PACK_VERSION,
  type PackLayout,
  type PackShape,
  packChecksum,
  packLayout,
  TICKS,
} from "./layout.ts";
import { NgramModel, ones, type PackSections } from "./model.ts";

export interface PackHeader {
  readonly order: number;
  /** All entries, unigrams included. */
  readonly ngrams: number;
  readonly vocabSize: number;
  /** Hex SHA-256 of the tokenizer.json whose ids the pack counts; the caller refuses another one. */
  readonly tokenizerHash: string;
}

const fail = (message: string): never => {
  throw new StepError("internal", `n-gram pack: ${message}`);
};

/** Reads and checks the first 128 bytes and the length. Throws StepError("internal") naming the fault. */
export function readPackHeader(bytes: Uint8Array): PackHeader {
  const shape = readShape(bytes);
  let tokenizerHash = "";
  for (let i = 0; i < 32; i++) tokenizerHash += bytes[OFFSET.tokenizerHash + i]!.toString(16).padStart(2, "0");
  const ngrams = packLayout(shape).entryCount;
  return { order: shape.order, ngrams, vocabSize: shape.vocabSize, tokenizerHash };
}

/**
 * A model over views of `bytes` (copied once if they do not start on a 4-byte boundary), which must not change
 * afterwards. Throws StepError("internal") on a truncated, unfinished, changed or inconsistent file.
 */
export function loadPack(bytes: Uint8Array): NgramModel {
  const shape = readShape(bytes);
  const layout = packLayout(shape);
  const own = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const words = new Uint32Array(own.buffer, own.byteOffset, layout.fileBytes / 4);
  const [a, b] = packChecksum(words);
  if (a !== words[OFFSET.checksum / 4] || b !== words[OFFSET.checksum / 4 + 1])
    fail("checksum mismatch, fetch it again");
  const sections = packSections(own, shape, layout);
  const fault = tableFault(sections) ?? trieFault(shape, layout, sections) ?? suffixFault(shape, layout, sections);
  if (fault) fail(fault);
  return new NgramModel(shape, { ...sections, ...derive(shape, sections) });
}

function readShape(bytes: Uint8Array): PackShape {
  if (bytes.length < HEADER_BYTES) fail(`${bytes.length} bytes is shorter than a header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  const u32 = (at: number) => view.getUint32(at, true);
  if (u32(OFFSET.magic) !== MAGIC) fail("not a .fdlm file");
  const version = u32(OFFSET.version);
  if (version !== PACK_VERSION) fail(`format version ${version}, this program reads ${PACK_VERSION}: train it again`);
  if (u32(OFFSET.complete) !== COMPLETE) fail("its build did not finish: train it again");
  const order = u32(OFFSET.order);
  const vocabSize = u32(OFFSET.vocabSize);
  if (order < MIN_ORDER || order > LIMITS.ngramOrder) fail(`order ${order}`);
  const entries = Array.from({ length: order }, (_, n) => u32(OFFSET.entries + 4 * n));
  const contexts = [1, ...Array.from({ length: order - 1 }, (_, n) => u32(OFFSET.contexts + 4 * n))];
  const bounded = entries.every((n) => n < MAX_ENTRIES) && entries.reduce((x, y) => x + y, 0) < MAX_ENTRIES;
  if (!bounded || vocabSize < 1 || entries[0] !== vocabSize) fail(`entries ${entries.join(", ")}`);
  for (let n = 1; n < order; n++) if (contexts[n]! > entries[n - 1]!) fail(`${contexts[n]} contexts of ${n} tokens`);
  const shape = { order, vocabSize, entries, contexts };
  const { fileBytes } = packLayout(shape);
  if (u32(OFFSET.fileBytes) !== fileBytes || bytes.length !== fileBytes) {
    fail(`${bytes.length} bytes where its header asks for ${fileBytes}`);
  }
  return shape;
}

function packSections(bytes: Uint8Array, shape: PackShape, layout: PackLayout): PackSections {
  const { at, contextCount, entryCount } = layout;
  const base = bytes.byteOffset;
  const u8 = (offset: number, length: number) => new Uint8Array(bytes.buffer, base + offset, length);
  const u16 = (offset: number, length: number) => new Uint16Array(bytes.buffer, base + offset, length);
  const wordCount = entryCount - shape.vocabSize;
  return {
    probTable: new Float32Array(bytes.buffer, base + at.probTable, CODES),
    backoffTable: new Float32Array(bytes.buffer, base + at.backoffTable, CODES),
    marks: new Uint32Array(bytes.buffer, base + at.marks, 3 * layout.blocks),
    childLow: u16(at.childLow, contextCount + 1),
    childHigh: u8(at.childHigh, contextCount + 1),
    suffixLow: u16(at.suffixLow, contextCount),
    suffixHigh: u8(at.suffixHigh, contextCount),
    backoffs: u8(at.backoffs, contextCount),
    words:
      layout.wordBytes === 2 ? u16(at.words, wordCount) : new Uint32Array(bytes.buffer, base + at.words, wordCount),
    probs: u8(at.probs, entryCount),
    bounds: u8(at.bounds, shape.entries[1]!),
    excess: u8(at.excess, shape.contexts[1]!),
    excessUnit: new DataView(bytes.buffer, base).getFloat32(OFFSET.excessUnit, true),
  };
}

function tableFault({ probTable, backoffTable, excessUnit }: PackSections): string | null {
  const valid = (value: number) => Math.abs(value) <= MAX_VALUE && Number.isInteger(value * TICKS);
  for (let i = 0; i < CODES; i++) {
    if (!valid(probTable[i]!)) return `log-probability ${probTable[i]}`;
    if (i > 0 && probTable[i]! < probTable[i - 1]!) return "log-probability table out of order";
    if (!valid(backoffTable[i]!)) return `backoff weight ${backoffTable[i]}`;
  }
  if (!(excessUnit >= 0 && excessUnit <= MAX_VALUE)) return `excess unit ${excessUnit}`;
  return null;
}

/** Child ranges tile the entries level by level, siblings rise, marks count what they say. */
function trieFault(shape: PackShape, layout: PackLayout, sections: PackSections): string | null {
  const { childLow, childHigh, words } = sections;
  const start = (c: number) => childLow[c]! | (childHigh[c]! << 16);
  if (start(0) !== 0 || start(1) !== shape.vocabSize) return "the empty context does not hold the vocabulary";
  let context = 1;
  let entryEnd = shape.vocabSize;
  for (let n = 1; n < shape.order; n++) {
    entryEnd += shape.entries[n]!;
    for (const last = context + shape.contexts[n]!; context < last; context++) {
      const from = start(context);
      const to = start(context + 1);
      if (to < from || to > entryEnd) return `children of context ${context}`;
      let before = -1;
      for (let e = from; e < to; e++) {
        const word = words[e - shape.vocabSize]!;
        if (word <= before || word >= shape.vocabSize) return `token ${word} of entry ${e}`;
        before = word;
      }
    }
    if (start(context) !== entryEnd) return `entries of order ${n + 1} without a context`;
  }
  return marksFault(shape, layout, sections);
}

function marksFault(
  shape: PackShape,
  layout: PackLayout,
  { marks, bounds, probs, probTable }: PackSections,
): string | null {
  let seen = 1;
  for (let block = 0; block < layout.blocks; block++) {
    if (marks[3 * block] !== seen) return `context marks at entry ${64 * block}`;
    seen += ones(marks[3 * block + 1]!) + ones(marks[3 * block + 2]!);
  }
  // Every order has as many contexts as the header says; then the last sum leaves none for the top order.
  for (let n = 1, entries = 0, contexts = 1; n < shape.order; n++) {
    entries += shape.entries[n - 1]!;
    contexts += shape.contexts[n]!;
    if (contextsBefore(marks, entries, seen) !== contexts) return `context count at entry ${entries - 1}`;
  }
  if (seen !== layout.contextCount) return "an entry of the top order marked as context";
  for (let i = 0; i < bounds.length; i++) {
    // The table rises, so that codes tell nearly always.
    const code = probs[shape.vocabSize + i]!;
    if (bounds[i]! < code && probTable[bounds[i]!]! < probTable[code]!) return `bound of bigram ${i}`;
  }
  return null;
}

/** Contexts among the entries below `entry`, the empty one included; `all` where there are no marks from there on. */
function contextsBefore(marks: Uint32Array, entry: number, all: number): number {
  const block = 3 * (entry >>> 6);
  if (block >= marks.length) return all;
  const low = (entry & 32) === 0 ? entry & 31 : 32;
  const high = (entry & 32) === 0 ? 0 : entry & 31;
  const below = (word: number, bits: number) => ones(bits === 32 ? word : word & ~(-1 << bits));
  return marks[block]! + below(marks[block + 1]!, low) + below(marks[block + 2]!, high);
}

/** A context's suffix is a context one token shorter: backing off ends. */
function suffixFault(shape: PackShape, _layout: PackLayout, sections: PackSections): string | null {
  if (sections.backoffTable[sections.backoffs[0]!] !== 0) return "a backoff weight of the empty context";
  let context = 1;
  let below = 0;
  for (let n = 1; n < shape.order; n++) {
    const first = context;
    for (const last = context + shape.contexts[n]!; context < last; context++) {
      const suffix = sections.suffixLow[context]! | (sections.suffixHigh[context]! << 16);
      if (suffix < below || suffix >= first) return `suffix of context ${context}`;
    }
    below = first;
  }
  return null;
}
