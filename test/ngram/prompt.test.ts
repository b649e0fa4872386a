import { describe, expect, test } from "vitest";
import { NO_MATCH, PROMPT_ORDER, PROMPT_TOKENS, PromptModel } from "../../shared/ngram/prompt.ts";
import { Random } from "../helpers/random.ts";

const LONGEST = PROMPT_ORDER - 1;

function modelOf(tokens: readonly number[]): PromptModel {
  const model = new PromptModel();
  for (const token of tokens) model.push(token);
  return model;
}

/** Tokens after each occurrence of `context` in `tokens`, the latest first. */
function followers(tokens: readonly number[], context: readonly number[]): number[] {
  const out: number[] = [];
  for (let end = tokens.length - 1; end >= context.length; end--) {
    if (context.every((token, i) => tokens[end - context.length + i] === token)) out.push(tokens[end]!);
  }
  return out;
}

const ending = (tokens: readonly number[], length: number) => tokens.slice(tokens.length - length);

/** The definition of a state: the longest end of `history`, at most order - 1 tokens, that something followed. */
function longestMatch(committed: readonly number[], history: readonly number[]): number[] {
  for (let length = Math.min(LONGEST, history.length); length > 0; length--) {
    if (followers(committed, ending(history, length)).length > 0) return ending(history, length);
  }
  return [];
}

function randomTokens(random: Random, length: number): number[] {
  const vocabSize = random.int(1, 6);
  const tokens: number[] = [];
  while (tokens.length < length) {
    // Copies, so that long matches occur.
    if (tokens.length > 4 && random.chance(0.2)) {
      const from = random.int(0, tokens.length - 2);
      tokens.push(...tokens.slice(from, from + random.int(1, 12)));
    } else tokens.push(random.int(0, vocabSize));
  }
  return tokens.slice(0, length);
}

/** Continuations of a state, each once, the latest first. */
function listed(model: PromptModel, state: number): number[] {
  const out = new Uint32Array(100);
  return [...out.subarray(0, model.continuations(state, out, 0, 100))];
}

describe("n-grams of the prompt", () => {
  test("the state is the longest end that occurred before, along any hypothetical path too", () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = new Random(seed);
      const tokens = randomTokens(random, random.int(0, 60));
      const model = modelOf(tokens);
      let { state } = model;
      const history = [...tokens];
      for (let i = 0; i < 15; i++) {
        const match = longestMatch(tokens, history);
        expect(model.lengthOf(state), `seed ${seed}`).toBe(match.length);
        expect(listed(model, state), `seed ${seed}`).toEqual([...new Set(followers(tokens, match))]);
        const token = random.chance(0.7) && tokens.length > 0 ? random.pick(tokens) : random.int(0, 9);
        history.push(token);
        state = model.follow(state, token);
      }
    }
  });

  test("evidence for a token is that of the longest end it followed", () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = new Random(seed);
      const tokens = randomTokens(random, random.int(1, 80));
      const model = modelOf(tokens);
      for (const token of [0, 1, 2, 3, 4, 5, 6, 99]) {
        const match = longestMatch(tokens, tokens);
        const lengths = Array.from({ length: match.length + 1 }, (_, i) => match.length - i);
        const length = lengths.find((n) => followers(tokens, ending(tokens, n)).includes(token));
        expect(model.find(model.state, token), `seed ${seed}`).toBe(length !== undefined);
        if (length === undefined) continue;
        const after = followers(tokens, ending(tokens, length));
        expect([model.matched, model.seen, model.outOf, model.newest], `seed ${seed}`).toEqual([
          length,
          after.filter((t) => t === token).length,
          after.length,
          after[0] === token,
        ]);
      }
    }
  });

  test("asking changes nothing", () => {
    const random = new Random(3);
    const tokens = randomTokens(random, 50);
    const asked = new PromptModel();
    for (const token of tokens) {
      asked.push(token);
      for (let state = asked.state, i = 0; i < 5; i++) state = asked.follow(state, random.int(0, 6));
      asked.find(asked.state, 3);
    }
    const fresh = modelOf(tokens);
    expect(asked.state).toBe(fresh.state);
    expect(listed(asked, asked.state)).toEqual(listed(fresh, fresh.state));
  });

  test("nothing known is no match, and shorter states lead there", () => {
    const model = modelOf([]);
    expect(model.state).toBe(NO_MATCH);
    expect(model.follow(NO_MATCH, 7)).toBe(NO_MATCH);
    expect(model.find(NO_MATCH, 7)).toBe(false);
    const copy = modelOf([1, 2, 3, 4, 1, 2, 3]);
    let { state } = copy;
    for (const length of [3, 2, 1, 0]) {
      expect(copy.lengthOf(state)).toBe(length);
      state = copy.shorten(state);
    }
  });

  test("none goes from one text into the next", () => {
    const model = modelOf([1, 2, 3]);
    model.separate();
    for (const token of [4, 5, 2]) model.push(token);
    expect(model.follow(NO_MATCH, 3)).toBe(NO_MATCH);
    expect(listed(model, model.follow(NO_MATCH, 4))).toEqual([5]);
    // The end of the second text is known from the first.
    expect(model.lengthOf(model.state)).toBe(1);
    expect(listed(model, model.state)).toEqual([3]);
  });

  test("more tokens than a context, a prediction and a memory hold are not learnt", () => {
    const model = modelOf(Array.from({ length: PROMPT_TOKENS }, (_, i) => i));
    model.push(5);
    model.push(6);
    model.push(5);
    expect(listed(model, model.follow(NO_MATCH, 5))).toEqual([6]);
    expect(model.find(NO_MATCH, 5) && model.seen).toBe(1);
  });
});
