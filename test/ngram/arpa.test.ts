import { describe, expect, test } from "vitest";
import { loadPack } from "../../shared/ngram/format.ts";
import { arpaLines, readArpa } from "../../train/ngram/arpa.ts";
import { tableOfPack } from "../../train/ngram/from-pack.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { tableLogProb } from "../../train/ngram/table.ts";
import { HASH, prng, toyModel } from "./helpers.ts";

const vocabSize = 15;
const { table } = toyModel({ seed: 9, order: 3, vocabSize, thresholds: [0, 0, 1] });

/** A hand-made model in KenLM's layout: marks, an unknown word, an n-gram whose suffix is missing. */
const FOREIGN = `\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-1.5\t<unk>\t0
-99\t<s>\t-0.2
-1.0\t</s>\t0
-0.5\t0\t-0.3
-0.7\t2\t-0.1

\\2-grams:
-0.2\t0 2\t-0.05
-0.4\t<s> 0\t-0.01
-0.6\t2 0\t0

\\3-grams:
-0.1\t0 2 1

\\end\\
`.split("\n");

describe("ARPA", () => {
  test("an exported table comes back with the same n-grams and probabilities", async () => {
    const back = await readArpa(arpaLines(table), vocabSize);
    expect(back.levels.map((level) => [...level.words])).toEqual(table.levels.map((level) => [...level.words]));
    const random = prng(1);
    for (let i = 0; i < 500; i++) {
      const history = Array.from({ length: 2 }, () => Math.floor(random() * vocabSize));
      const token = Math.floor(random() * vocabSize);
      expect(tableLogProb(back, history, token)).toBeCloseTo(tableLogProb(table, history, token), 5);
    }
  });

  test("a foreign model keeps its scores; sentence marks go, missing suffixes are filled by backing off", async () => {
    const foreign = await readArpa(FOREIGN, 3);
    const log10 = (history: number[], token: number) => tableLogProb(foreign, history, token) / Math.LN10;
    expect(log10([], 1)).toBeCloseTo(-1.5, 5);
    expect(log10([0], 2)).toBeCloseTo(-0.2, 5);
    expect(log10([0, 2], 1)).toBeCloseTo(-0.1, 5);
    expect(log10([2], 1)).toBeCloseTo(-0.1 - 1.5, 5);
    expect(log10([0, 2], 0)).toBeCloseTo(-0.05 - 0.6, 5);
    expect(loadPack(writePack(foreign, HASH)).shape.entries).toEqual([3, 3, 1]);
  });

  test.each([
    ["a word that is no token id", FOREIGN.map((line) => line.replace("2 0", "2 x")), /line 16: x is not a token id/],
    [
      "a token outside the vocabulary",
      FOREIGN.map((line) => line.replace("0 2 1", "0 2 7")),
      /7 is not a token id below 3/,
    ],
    ["a missing field", FOREIGN.map((line) => line.replace("0 2 1", "0 2")), /fields in an n-gram of order 3/],
    ["a probability above 1", FOREIGN.map((line) => line.replace("-0.1\t0 2 1", "0.1\t0 2 1")), /numbers/],
    ["something else", ["hello"], /not an ARPA file/],
  ])("%s is refused", async (_, lines, message) => {
    await expect(readArpa(lines, 3)).rejects.toThrow(message);
  });
});

test("a pack exported as ARPA and imported again scores the same to the last bit", async () => {
  const pack = writePack(table, HASH);
  const again = writePack(await readArpa(arpaLines(tableOfPack(loadPack(pack))), vocabSize), HASH);
  // A table of codes has room for values that nothing uses, so codes may differ where scores may not.
  const [model, back] = [loadPack(pack), loadPack(again)];
  expect(back.shape).toEqual(model.shape);
  for (let state = 0; state < model.shape.contexts.reduce((a, b) => a + b, 0); state++) {
    for (let token = 0; token < vocabSize; token++) expect(back.score(state, token)).toBe(model.score(state, token));
  }
});
