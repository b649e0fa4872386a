import { describe, expect, test } from "vitest";
import { StepError } from "../../shared/errors.ts";
import { loadPack, readPackHeader } from "../../shared/ngram/format.ts";
import { HEADER_BYTES, OFFSET, packChecksum } from "../../shared/ngram/layout.ts";
import { EMPTY_STATE } from "../../shared/ngram/model.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { HASH, prng, toyModel } from "./helpers.ts";

const vocabSize = 12;
const toy = toyModel({ seed: 1, order: 3, vocabSize, documents: 2, length: 25 });
const pack = writePack(toy.table, HASH);

function reseal(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer);
  const [a, b] = packChecksum(new Uint32Array(bytes.buffer, 0, bytes.length >> 2));
  view.setUint32(OFFSET.checksum, a, true);
  view.setUint32(OFFSET.checksum + 4, b, true);
  return bytes;
}

/** Loads and, if that works, asks for every token after every state: must end and stay inside the pack. */
function survives(bytes: Uint8Array): boolean {
  try {
    const model = loadPack(bytes);
    const states = model.shape.contexts.reduce((a, b) => a + b, 0);
    for (let state = 0; state < states; state++) {
      for (let token = 0; token < 16; token++) {
        if (Number.isNaN(model.score(state, token)) || model.next >= states)
          throw new Error(`state ${state}, token ${token}`);
      }
    }
    return true;
  } catch (error) {
    if (error instanceof StepError) return false;
    throw error;
  }
}

describe("reading packs", () => {
  test("the header says order, size and tokenizer", () => {
    const ngrams = toy.table.levels.reduce((sum, level) => sum + level.count, 0);
    expect(readPackHeader(pack)).toEqual({ order: 3, ngrams, vocabSize, tokenizerHash: HASH });
  });

  test("bytes at an odd offset load to the same model", () => {
    const shifted = new Uint8Array(pack.length + 3);
    shifted.set(pack, 3);
    const model = loadPack(shifted.subarray(3));
    const straight = loadPack(pack);
    for (let token = 0; token < vocabSize; token++) {
      expect(model.score(EMPTY_STATE, token)).toBe(straight.score(EMPTY_STATE, token));
    }
  });

  test("a vocabulary beyond 16 bits is stored in 32", () => {
    const wide = toyModel({ seed: 3, order: 2, vocabSize: 40, documents: 2, length: 30 }).table;
    const grown = {
      ...wide,
      vocabSize: 70000,
      levels: wide.levels.map((level, n) =>
        n === 0 ? widen(level, 70000) : { ...level, words: Uint32Array.from(level.words) },
      ),
    };
    const model = loadPack(writePack(grown, HASH));
    expect(model.score(EMPTY_STATE, 3)).toBeCloseTo(wide.levels[0]!.logProbs[3]!, 1);
  });

  test.each([
    ["a short file", pack.slice(0, 100), /shorter than a header/],
    ["another format", patched(OFFSET.magic, 7), /not a .fdlm/],
    ["a newer version", patched(OFFSET.version, 9), /format version 9.*reads 1/],
    ["an unfinished build", patched(OFFSET.complete, 0), /did not finish/],
    ["a cut file", pack.slice(0, pack.length - 4), /header asks for/],
    ["a longer file", new Uint8Array([...pack, 0, 0, 0, 0]), /header asks for/],
    ["a flipped bit", flipped(pack.length - 9, 1), /checksum/],
    ["absurd sizes", patched(OFFSET.entries + 4, 0xffffffff), /entries/],
  ])("%s is refused by name", (_, bytes, message) => {
    expect(() => loadPack(bytes)).toThrow(StepError);
    expect(() => loadPack(bytes)).toThrow(message);
  });
});

function widen(level: (typeof toy.table.levels)[number], count: number): (typeof toy.table.levels)[number] {
  const firstChild = new Uint32Array(count + 1).fill(level.firstChild[level.count]!);
  firstChild.set(level.firstChild);
  const logProbs = new Float32Array(count).fill(-20);
  logProbs.set(level.logProbs);
  const logBackoffs = new Float32Array(count);
  logBackoffs.set(level.logBackoffs);
  return {
    ...level,
    count,
    words: Uint32Array.from({ length: count }, (_, i) => i),
    logProbs,
    logBackoffs,
    firstChild,
  };
}

function patched(offset: number, value: number): Uint8Array {
  const bytes = pack.slice();
  new DataView(bytes.buffer).setUint32(offset, value, true);
  return bytes;
}

function flipped(offset: number, mask: number): Uint8Array {
  const bytes = pack.slice();
  bytes[offset]! ^= mask;
  return bytes;
}

describe("fuzz", () => {
  test("every single-bit change is refused", () => {
    for (let bit = 0; bit < 8 * pack.length; bit++) {
      const bytes = flipped(bit >> 3, 1 << (bit & 7));
      expect(() => loadPack(bytes), `bit ${bit}`).toThrow(StepError);
    }
  });

  test("100,000 mutated files are refused: none accepted, no other error", () => {
    const random = prng(2024);
    const below = (n: number) => Math.floor(random() * n);
    let accepted = 0;
    for (let round = 0; round < 100_000; round++) {
      let bytes = pack.slice();
      for (let edits = 1 + below(4); edits > 0; edits--) {
        const at = random() < 0.3 ? below(HEADER_BYTES) : below(bytes.length);
        const kind = below(4);
        if (kind === 0) bytes[at] = below(256);
        else if (kind === 1) bytes[at]! ^= 1 << below(8);
        else if (kind === 2) bytes.copyWithin(at, below(bytes.length), below(bytes.length));
        else bytes = bytes.slice(0, Math.max(1, bytes.length - below(40)));
      }
      const same = bytes.length === pack.length && bytes.every((byte, i) => byte === pack[i]);
      if (!same && survives(bytes)) accepted++;
    }
    expect(accepted).toBe(0);
  }, 60_000);

  test("20,000 hostile files with a matching checksum never hang or leave the pack", () => {
    const random = prng(2025);
    const below = (n: number) => Math.floor(random() * n);
    let loaded = 0;
    for (let round = 0; round < 20_000; round++) {
      const bytes = pack.slice();
      for (let edits = 1 + below(3); edits > 0; edits--) bytes[8 + below(bytes.length - 8)] = below(256);
      if (survives(reseal(bytes))) loaded++;
    }
    // Changed probabilities are a different model; changed structure is refused.
    expect(loaded).toBeGreaterThan(0);
    expect(loaded).toBeLessThan(20_000);
  }, 60_000);
});
