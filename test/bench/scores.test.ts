import { describe, expect, test } from "vitest";
import { correlation, lastRisingHead } from "../../bench/eval/entropy.ts";
import { perplexity } from "../../bench/eval/perplexity.ts";
import { exactMatch, rougeL, scoreAnswer, wordF1 } from "../../bench/eval/scores.ts";

describe("task scores", () => {
  test("SQuAD's exact match leaves case, punctuation and articles out", () => {
    expect(exactMatch("The Eiffel-Tower!", "eiffeltower")).toBe(1);
    expect(exactMatch("In Paris", "Paris")).toBe(0);
  });

  test("SQuAD's F1 counts shared words as often as both have them", () => {
    expect(wordF1("red red blue", "red green")).toBeCloseTo((2 * 1) / 5);
    expect(wordF1("", "red")).toBe(0);
  });

  test("ROUGE-L is 1 for the same text and 0 for no shared word, whatever the case", () => {
    expect(rougeL("The cat sat.", "the cat sat.")).toBeCloseTo(1);
    expect(rougeL("dogs bark loudly", "the cat sat")).toBe(0);
    expect(rougeL("", "the cat sat")).toBe(0);
  });

  test("the best reference counts", () => {
    expect(scoreAnswer("squad", "42", ["forty-two", "42"])).toEqual([1, 1]);
    expect(scoreAnswer("last-word", " Shane, and then", ["Shane"])).toEqual([1]);
    expect(scoreAnswer("rouge-l", "a b", [])).toEqual([0]);
  });

  test("perplexity is per target, not per token", () => {
    expect(perplexity([[Math.log(0.5), Math.log(0.5)], [Math.log(0.25)]])).toBeCloseTo(4);
  });
});

describe("h_max", () => {
  test("is the last head up to which entropy rises, counted from head 2", () => {
    expect(lastRisingHead([1, 1.5, 1.7, 1.6, 2])).toBe(4);
    expect(lastRisingHead([2, 1])).toBe(2);
    expect(lastRisingHead([1, 2, 3])).toBe(4);
  });

  test("correlation is Pearson's, unknown where one side does not vary", () => {
    expect(
      correlation([
        [1, 2],
        [2, 4],
        [3, 6],
      ]),
    ).toBeCloseTo(1);
    expect(
      correlation([
        [1, 2],
        [1, 4],
        [1, 6],
      ]),
    ).toBeNull();
    expect(
      correlation([
        [1, 2],
        [2, 1],
      ]),
    ).toBeNull();
  });
});
