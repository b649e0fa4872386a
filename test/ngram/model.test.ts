import { describe, expect, test } from "vitest";
import { loadPack } from "../../shared/ngram/format.ts";
import { EMPTY_STATE, type NgramModel } from "../../shared/ngram/model.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { HASH, prng, toyModel } from "./helpers.ts";

function stateOf(model: NgramModel, history: readonly number[]): number {
  let state = EMPTY_STATE;
  for (const token of history) {
    model.score(state, token);
    state = model.next;
  }
  return state;
}

describe.each([
  [2, 2],
  [3, 3],
  [4, 4],
  [4, 3],
  [4, 2],
])("a pack of order %i asked at order %i", (order, asked) => {
  const vocabSize = 17;
  const toy = toyModel({ seed: 5, order, vocabSize, thresholds: [0, 0, 0, 1].slice(0, order) });
  const model = loadPack(writePack(toy.table, HASH)).withOrder(asked);

  test("the state kept token by token equals the state of the last order - 1 tokens alone", () => {
    const random = prng(7);
    const history: number[] = [];
    let state = EMPTY_STATE;
    for (let i = 0; i < 2000; i++) {
      const token = i % 3 === 0 ? Math.floor(random() * vocabSize) : toy.tokens[i % 80]!;
      const cut = stateOf(model, history.slice(-(asked - 1)));
      expect(cut).toBe(state);
      expect(model.score(cut, token)).toBe(model.score(state, token));
      expect(model.matched).toBeLessThanOrEqual(asked);
      state = model.next;
      history.push(token);
      expect(model.after(EMPTY_STATE, history)).toBe(state);
      expect(model.after(cut, [token])).toBe(state);
    }
  });

  test("equal states score every token alike: merging them loses nothing", () => {
    const random = prng(8);
    const seen = new Map<number, Float64Array>();
    for (let i = 0; i < 500; i++) {
      const state = stateOf(
        model,
        Array.from({ length: 4 }, () => Math.floor(random() * vocabSize)),
      );
      const scores = Float64Array.from({ length: vocabSize }, (_, token) => model.score(state, token));
      if (seen.has(state)) expect(scores).toEqual(seen.get(state));
      seen.set(state, scores);
    }
    expect(seen.size).toBeGreaterThan(1);
  });

  test("a token outside the vocabulary scores as the rarest and forgets the history", () => {
    expect(model.score(EMPTY_STATE, vocabSize)).toBe(model.arrays.probTable[0]);
    expect(model.next).toBe(EMPTY_STATE);
  });
});

test("the bigram bound is never below the score of any longer history", () => {
  const vocabSize = 13;
  for (const seed of [1, 2, 3]) {
    const toy = toyModel({ seed, order: 4, vocabSize, thresholds: [0, 0, 1, 2] });
    const model = loadPack(writePack(toy.table, HASH));
    const random = prng(seed);
    for (let i = 0; i < 3000; i++) {
      const history = Array.from({ length: 3 }, () => Math.floor(random() * vocabSize));
      const token = Math.floor(random() * vocabSize);
      const context = model.contextOf(history[2]!);
      const entry = context === EMPTY_STATE ? -1 : model.find(context, token);
      const { arrays } = model;
      const bound =
        entry >= 0
          ? arrays.probTable[arrays.bounds[entry - vocabSize]!]!
          : arrays.backoffTable[arrays.backoffs[context]!]! +
            model.excess(context) +
            arrays.probTable[arrays.probs[token]!]!;
      expect(model.score(stateOf(model, history), token)).toBeLessThanOrEqual(bound);
    }
  }
});

test("a child is found wherever it is looked up: by search, four at a time, in a frequent context's row of bits", () => {
  const vocabSize = 160;
  const { table } = toyModel({ seed: 9, order: 2, vocabSize, length: 10_000 });
  const model = loadPack(writePack(table, HASH));
  const { words, denseAt } = model.arrays;
  expect([...denseAt].filter((at) => at >= 0).length).toBeGreaterThan(1);
  const asked = Uint32Array.from({ length: vocabSize + 4 }, (_, token) =>
    token < vocabSize ? token : 2 ** 32 - token,
  );
  const fours = new Int32Array(asked.length);
  const bigrams = new Int32Array(asked.length);
  for (let context = 1; context < denseAt.length; context++) {
    const start = model.childStart(context);
    const end = model.childStart(context + 1);
    const expected = Array.from(asked, (token) => {
      const at = words.subarray(start, end).indexOf(token);
      return at < 0 ? -1 : start + at + vocabSize;
    });
    for (let i = 0; i < asked.length; i += 4) {
      model.findFour(start, end, asked, i, fours, i);
      model.findBigrams(context, asked, i, bigrams, i);
    }
    expect([...fours]).toEqual(expected);
    expect([...bigrams]).toEqual(expected);
    expect(Array.from(asked, (token) => model.find(context, token))).toEqual(expected);
  }
});
