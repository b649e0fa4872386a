import { describe, expect, test } from "vitest";
import { loadPack } from "../../shared/ngram/format.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { perplexityOf } from "../../train/ngram/perplexity.ts";
import { tableLogProb } from "../../train/ngram/table.ts";
import { type TokenSource, tokenArray } from "../../train/ngram/token-file.ts";
import { trainTable } from "../../train/ngram/train.ts";
import { HASH, prng } from "./helpers.ts";

/** As many as Qwen 2.5 has. */
const VOCAB = 151_936;
const NARROW = 200;
/** Rising, above 65,535 for most. */
const wideId = (token: number) => 700 * token + 11;

const documents = (seed: number, map: (token: number) => number) => {
  const random = prng(seed);
  return Array.from({ length: 8 }, () => {
    let last = 0;
    return Array.from({ length: 90 }, () => {
      last = random() < 0.6 ? (last * 7 + 3) % NARROW : Math.floor(NARROW * random() ** 2);
      return map(last);
    });
  });
};
const sourceOf = (texts: number[][], vocabSize: number): TokenSource => ({
  tokens: tokenArray(texts, vocabSize),
  weight: 1,
  split: null,
});
const options = { order: 4, thresholds: [0, 0, 0, 0], maxBytes: Infinity };

describe("a vocabulary of more than 65,535 tokens", () => {
  const texts = documents(14, wideId);
  const table = trainTable([sourceOf(texts, VOCAB)], { ...options, vocabSize: VOCAB });
  const narrow = trainTable(
    [
      sourceOf(
        documents(14, (t) => t),
        NARROW,
      ),
    ],
    { ...options, vocabSize: NARROW },
  );

  test("has the same n-grams, and probabilities that differ by the share of tokens never seen alone", () => {
    expect(table.levels.map(({ count }) => count)).toEqual([
      VOCAB,
      ...narrow.levels.slice(1).map(({ count }) => count),
    ]);
    for (const [n, level] of table.levels.entries()) {
      if (n === 0) continue;
      expect([...level.words]).toEqual(Array.from(narrow.levels[n]!.words, wideId));
      for (let i = 0; i < level.count; i++) {
        const shared = Math.exp(level.logProbs[i]!) - Math.exp(narrow.levels[n]!.logProbs[i]!);
        expect(Math.abs(shared)).toBeLessThan(0.01);
      }
    }
  });

  test.each([[[]], [[wideId(3)]], [[wideId(0), wideId(3), wideId(24)]], [[7]]])("sums to 1 after %j", (history) => {
    let sum = 0;
    for (let token = 0; token < VOCAB; token++) sum += Math.exp(tableLogProb(table, history, token));
    expect(sum).toBeCloseTo(1, 4);
  });

  test("is read from its pack, within the rounding of a pack", () => {
    const model = loadPack(writePack(table, HASH));
    expect(model.vocabSize).toBe(VOCAB);
    const held = documents(15, wideId);
    let sum = 0;
    let count = 0;
    for (const text of held) {
      for (const [i, token] of text.entries()) {
        sum += tableLogProb(table, text.slice(Math.max(0, i - 3), i), token);
        count++;
      }
    }
    const exact = Math.exp(-sum / count);
    expect(perplexityOf(model, [sourceOf(held, VOCAB)]).perplexity / exact).toBeCloseTo(1, 1);
    expect(exact).toBeLessThan(200);
  });

  test("is pruned to a size, all of its tokens counted", () => {
    const whole = writePack(table, HASH).length;
    const maxBytes = Math.floor(0.998 * whole);
    const pruned = writePack(trainTable([sourceOf(texts, VOCAB)], { ...options, vocabSize: VOCAB, maxBytes }), HASH);
    expect(pruned.length).toBeLessThanOrEqual(maxBytes);
    expect(pruned.length).toBeGreaterThan(0.98 * maxBytes);
  });
});

test("of more different tokens than there are numbers the rarest end a document", () => {
  const vocabSize = 70_000;
  const often = [69_999, 3, 69_998];
  const rare = Array.from({ length: 69_000 }, (_, token) => token + 10);
  const texts = [...Array.from({ length: 4 }, () => often), [...rare, ...often]];
  const table = trainTable([sourceOf(texts, vocabSize)], { ...options, order: 2, vocabSize, thresholds: [0, 1] });
  const pairs = table.levels[1]!;
  expect(Array.from(pairs.words, (word, i) => [pairs.parents[i], word])).toEqual([
    [3, 69_998],
    [69_999, 3],
  ]);
  expect(table.levels[0]!.logProbs.every(Number.isFinite)).toBe(true);
});
