import { describe, expect, test } from "vitest";
import { loadPack } from "../../shared/ngram/format.ts";
import { countWindows, tokenAt } from "../../train/ngram/counts.ts";
import { keepWithin, keptBytes, pruneTable, pruningCosts } from "../../train/ngram/entropy-prune.ts";
import { adjustedCounts } from "../../train/ngram/kneser-ney.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { type NgramTable, tableLogProb } from "../../train/ngram/table.ts";
import { TableModel } from "../../train/ngram/table-model.ts";
import { SEPARATOR } from "../../train/ngram/token-file.ts";
import { HASH, prng, type Toy, toyModel } from "./helpers.ts";

/** Histories of `length` tokens: seen ones from the text and random ones. */
function sampleHistories(toy: Toy, vocabSize: number, length: number): number[][] {
  const random = prng(99);
  const seen = Array.from({ length: 40 }, () => {
    const at = Math.floor(random() * (toy.tokens.length - length));
    return [...toy.tokens.subarray(at, at + length)];
  });
  const made = Array.from({ length: 20 }, () => Array.from({ length }, () => Math.floor(random() * vocabSize)));
  return [...seen, ...made].filter((history) => !history.includes(SEPARATOR));
}

function mass(table: NgramTable, history: readonly number[]): number {
  let sum = 0;
  for (let token = 0; token < table.vocabSize; token++) sum += Math.exp(tableLogProb(table, history, token));
  return sum;
}

function prune(toy: Toy, fraction: number): NgramTable {
  const counts = toy.levels.slice(0, -1).map((_, n) => new Float64Array(toy.table.levels[n]!.count).fill(3));
  const costs = pruningCosts(toy.table, counts, 480);
  const everything = keptBytes(
    toy.table,
    costs.map((level) => new Uint8Array(level.length).fill(1)),
  );
  return pruneTable(toy.table, keepWithin(toy.table, costs, everything * fraction));
}

describe("counting", () => {
  test("windows and continuation counts equal those of a plain map", () => {
    const toy = toyModel({ seed: 1, order: 3, vocabSize: 11 });
    const documents = [...toy.tokens].join(",").split(`,${SEPARATOR}`);
    const trigrams = new Map<string, number>();
    for (const document of documents) {
      const padded = [11, 11, ...document.split(",").filter(Boolean).map(Number)];
      for (let i = 2; i < padded.length; i++) {
        const key = padded.slice(i - 2, i + 1).join(" ");
        trigrams.set(key, (trigrams.get(key) ?? 0) + 1);
      }
    }
    const top = toy.levels[2]!;
    const name = (level: typeof top, i: number) =>
      Array.from({ length: level.order }, (_, age) => tokenAt(level, i, level.order - 1 - age)).join(" ");
    expect(new Map(Array.from({ length: top.count }, (_, i) => [name(top, i), top.counts[i]]))).toEqual(trigrams);
    const bigrams = new Map<string, number>();
    for (const key of trigrams.keys()) {
      const suffix = key.slice(key.indexOf(" ") + 1);
      bigrams.set(suffix, (bigrams.get(suffix) ?? 0) + 1);
    }
    const middle = toy.levels[1]!;
    expect(new Map(Array.from({ length: middle.count }, (_, i) => [name(middle, i), middle.counts[i]]))).toEqual(
      bigrams,
    );
  });

  test("a weight counts a source that often", () => {
    const tokens = Uint16Array.from([1, 2, 3, SEPARATOR, 1, 2]);
    const once = countWindows([{ tokens, weight: 1, split: null }], 2, 5);
    const thrice = countWindows([{ tokens, weight: 3, split: null }], 2, 5);
    expect(thrice.keys).toEqual(once.keys);
    expect([...thrice.counts]).toEqual([...once.counts].map((n) => 3 * n));
  });

  test("an n-gram left out lends its suffix its whole count", () => {
    const toy = toyModel({ seed: 2, order: 3, vocabSize: 9 });
    const none = toy.levels.map((level) => new Uint8Array(level.count));
    const raw = adjustedCounts(toy.levels[2]!, none);
    const total = raw[1]!.counts.reduce((a, b) => a + b, 0);
    expect(total).toBe(toy.levels[2]!.counts.reduce((a, b) => a + b, 0));
  });
});

describe.each([2, 3, 4])("order %i", (order) => {
  const vocabSize = 23;
  test.each([0, 1, 2])("probabilities sum to 1 after any history, counts up to %i pruned", (threshold) => {
    const thresholds = Array.from({ length: order }, (_, n) => (n === 0 ? 0 : threshold));
    const toy = toyModel({ seed: 10 + threshold, order, vocabSize, thresholds });
    for (let length = 0; length < order; length++) {
      for (const history of sampleHistories(toy, vocabSize, length)) expect(mass(toy.table, history)).toBeCloseTo(1, 4);
    }
  });

  test("probabilities sum to 1 after entropy pruning, within the byte budget", () => {
    const toy = toyModel({ seed: 20, order, vocabSize });
    for (const fraction of [0.95, 0.9, 0.8]) {
      const pruned = prune(toy, fraction);
      for (let length = 0; length < order; length++) {
        for (const history of sampleHistories(toy, vocabSize, length)) expect(mass(pruned, history)).toBeCloseTo(1, 4);
      }
      expect(writePack(pruned, HASH).length).toBeLessThanOrEqual(fraction * writePack(toy.table, HASH).length);
    }
    expect(() => prune(toy, 0.01)).toThrow(/cannot hold the vocabulary/);
  });

  test("the table scored token by token gives the definition's probabilities", () => {
    const toy = toyModel({ seed: 31, order, vocabSize, thresholds: [0, 0, 1, 1].slice(0, order) });
    const model = new TableModel(toy.table);
    const random = prng(3);
    const history: number[] = [];
    let state = 0;
    for (let i = 0; i < 1000; i++) {
      const token = i % 4 === 0 ? Math.floor(random() * vocabSize) : toy.tokens[i % 80]!;
      const expected = tableLogProb(toy.table, history.slice(-(order - 1)), token);
      expect(model.score(state, token)).toBeCloseTo(expected, 10);
      state = model.next;
      history.push(token);
    }
  });

  test("the pack says what the table says, but for quantisation", () => {
    const toy = toyModel({ seed: 30, order, vocabSize, thresholds: [0, 0, 1, 1].slice(0, order) });
    const model = loadPack(writePack(toy.table, HASH));
    const history: number[] = [];
    let state = 0;
    for (const token of toy.tokens) {
      if (token === SEPARATOR) continue;
      const expected = tableLogProb(toy.table, history.slice(-(order - 1)), token);
      expect(Math.abs(model.score(state, token) - expected)).toBeLessThan(0.15);
      state = model.next;
      history.push(token);
    }
  });
});
