import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { loadPack } from "../../shared/ngram/format.ts";
import { compact } from "../../train/ngram/compact.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { type NgramTable, tableLogProb } from "../../train/ngram/table.ts";
import { readTokenFile, separatorOf, tokensOf } from "../../train/ngram/token-file.ts";
import { trainTable } from "../../train/ngram/train.ts";
import { HASH, prng, toyModel } from "./helpers.ts";

/** Qwen 2.5's. */
const VOCAB = 151_936;
const NARROW = 40;
/** Tokens of the toy text, spread over the large vocabulary and in the same order. */
const wide = (token: number) => 5 + token * 3_700;

const dir = mkdtempSync(join(tmpdir(), "foredraft-compact-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const { tokens } = toyModel({ seed: 5, order: 3, vocabSize: NARROW });
const documents = [...tokens]
  .join(",")
  .split(`,${separatorOf(tokens)}`)
  .map((text) => text.split(",").filter(Boolean).map(Number))
  .filter((document) => document.length > 0);
const train = (ids: readonly number[][], vocabSize: number, maxBytes: number) =>
  trainTable([{ tokens: tokensOf(ids, vocabSize), weight: 1, split: null }], {
    order: 3,
    vocabSize,
    thresholds: [0, 0, 0],
    maxBytes,
  });
const large = documents.map((document) => document.map(wide));

describe("an n-gram model over a vocabulary whose ids need more than 16 bits", () => {
  const table = train(large, VOCAB, Infinity);

  test("has the n-grams that the same text has over a small one", () => {
    const small = train(documents, NARROW, Infinity);
    expect(ngramsOf(table)).toEqual(ngramsOf(small).map((ngram) => ngram.map(wide)));
  });

  test("gives every history's continuations, the tokens that no text holds among them, probabilities that add up to 1", () => {
    const random = prng(8);
    for (const length of [0, 1, 2]) {
      for (let round = 0; round < 3; round++) {
        const at = Math.floor(random() * (large[0]!.length - 2));
        const history = large[0]!.slice(at, at + length);
        let sum = 0;
        for (let token = 0; token < VOCAB; token++) sum += Math.exp(tableLogProb(table, history, token));
        expect(sum, history.join()).toBeCloseTo(1, 4);
      }
    }
  });

  test("lies in a pack that is read back as it was written", () => {
    const bytes = writePack(table, HASH);
    const model = loadPack(bytes);
    expect(model.vocabSize).toBe(VOCAB);
    for (const document of large) {
      let state = 0;
      for (const [i, token] of document.entries()) {
        const expected = tableLogProb(table, document.slice(Math.max(0, i - 2), i), token);
        // Rounded to 256 values, many of which the unseen tokens take of a text as short as this.
        expect(Math.abs(model.score(state, token) - expected)).toBeLessThan(0.5);
        state = model.next;
      }
    }
    for (const token of [0, 1, 70_000, VOCAB - 1]) {
      expect(model.score(0, token)).toBeCloseTo(tableLogProb(table, [], token), 1);
      expect(model.next).toBe(0);
    }
  });

  test("is pruned to the bytes that its pack then has", () => {
    const whole = writePack(table, HASH).length;
    const limit = whole - 600;
    const bytes = writePack(train(large, VOCAB, limit), HASH).length;
    expect(bytes).toBeLessThanOrEqual(limit);
    expect(bytes).toBeGreaterThan(limit - 400);
  });
});

test("of more tokens than have a number the commonest keep theirs, and a document ends where another one stands", () => {
  const source = { tokens: tokensOf([[900_000, 7, 7, 800_000, 7, 3, 3]], 1_000_000), weight: 2, split: null };
  const compacted = compact([source], 1_000_000, 2);
  expect([...compacted.tokens]).toEqual([3, 7]);
  const S = 0xffff;
  expect([...compacted.sources[0]!.tokens]).toEqual([S, 1, 1, S, 1, 0, 0, S]);
  expect(compacted.sources[0]).toMatchObject({ weight: 2, split: null });
});

test("documents that are held out stay out", () => {
  const split = { modulus: 2, remainder: 1, part: "without" } as const;
  const source = { tokens: tokensOf([[70_000], [70_001], [70_002, 5]], 80_000), weight: 1, split };
  const compacted = compact([source], 80_000);
  expect([...compacted.tokens]).toEqual([5, 70_000, 70_002]);
  expect([...compacted.sources[0]!.tokens]).toEqual([1, 0xffff, 2, 0, 0xffff]);
});

test("a token outside the vocabulary is named", () => {
  const source = { tokens: tokensOf([[70_000]], 80_000), weight: 1, split: null };
  expect(() => compact([source], 70_000)).toThrow("token 70000 outside the vocabulary of 70000");
});

test("a file of 32-bit ids is read as such, and one that is cut is named", () => {
  const path = join(dir, "text.u32");
  const ids = tokensOf([[70_000, 1], []], 80_000);
  writeFileSync(path, new Uint8Array(ids.buffer));
  expect(readTokenFile(path)).toEqual(ids);
  writeFileSync(path, new Uint8Array(ids.buffer, 0, 6));
  expect(() => readTokenFile(path)).toThrow("6 bytes is not a whole number of uint32 ids");
});

/** Every n-gram of two tokens or more. */
function ngramsOf({ levels }: NgramTable): number[][] {
  const all: number[][] = [];
  let below = Array.from(levels[0]!.words, (token) => [token]);
  for (const level of levels.slice(1)) {
    below = Array.from(level.words, (token, i) => [...below[level.parents[i]!]!, token]);
    all.push(...below);
  }
  return all;
}
