import { expect, test } from "vitest";
import { best } from "../../bench/suite/tune.ts";

test("the best alpha is each category's own, the lowest on a tie, and its gain is over plain drafts", () => {
  const group = (efficiency: number) => ({ prompts: 7, efficiency });
  const byAlpha = new Map([
    [
      0.5,
      new Map([
        ["qa", group(2.2)],
        ["math", group(1.5)],
        ["overall", group(1.8)],
      ]),
    ],
    [
      0,
      new Map([
        ["qa", group(2)],
        ["math", group(1.8)],
        ["overall", group(1.9)],
      ]),
    ],
    [
      0.2,
      new Map([
        ["qa", group(2.2)],
        ["math", group(1.6)],
        ["overall", group(2)],
      ]),
    ],
  ]);
  const none = new Map([
    ["qa", group(2)],
    ["math", group(1.8)],
    ["overall", group(1.9)],
  ]);
  const found = best(byAlpha, none);
  expect(found.qa).toMatchObject({ best_alpha: 0.2, block_efficiency: 2.2 });
  expect(found.qa?.gain_over_none).toBeCloseTo(0.1);
  expect(found.math).toMatchObject({ best_alpha: 0, gain_over_none: 0 });
  expect(found.overall).toMatchObject({ best_alpha: 0.2, by_alpha: { 0: 1.9, 0.2: 2, 0.5: 1.8 } });
});
