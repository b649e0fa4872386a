import { describe, expect, test } from "vitest";
import { SOURCES } from "../../shared/draft-tree.ts";
import { EMPTY_LATTICE } from "../../shared/lattice.ts";
import { CALIBRATION_VERSION } from "../../shared/rescore/calibration.ts";
import { WEIGHTS } from "../../shared/rescore/features.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import { RECYCLED, Recycled } from "../../shared/rescore/recycled.ts";
import { NO_RUNNERS_UP, type RunnersUp, runnersUpOf } from "../../shared/runners-up.ts";

/** One runner-up for each committed token. */
function beside(...tokens: number[]): RunnersUp {
  return { k: 1, tokens: Uint32Array.from(tokens), gaps: new Uint8Array(tokens.length).fill(16) };
}

/** The tokens of the row found, best first. */
function found(recycled: Recycled, before: number, token: number): number[] | null {
  if (!recycled.find(before, token)) return null;
  return [...recycled.tokens.subarray(recycled.at, recycled.at + recycled.count)];
}

describe("runners-up", () => {
  test("are the likeliest tokens but the chosen one, with how far they lie below the likeliest", () => {
    const likeliest = { tokens: [5, 3, 9, 1], logits: [2, 1.5, 0, -40] };
    expect(runnersUpOf(likeliest, 5, 2)).toEqual({ k: 2, tokens: Uint32Array.of(3, 9), gaps: Uint8Array.of(8, 32) });
    // A sampled token need not be the likeliest.
    expect(runnersUpOf(likeliest, 3, 3)).toEqual({
      k: 3,
      tokens: Uint32Array.of(5, 9, 1),
      gaps: Uint8Array.of(0, 32, 255),
    });
  });
});

describe("recycled tokens", () => {
  test("are found by the pair before them, else by the newer token, the latest first", () => {
    const recycled = new Recycled();
    recycled.commit([1, 2], NO_RUNNERS_UP);
    expect(found(recycled, 1, 2)).toBeNull();
    recycled.commit([3], beside(30));
    recycled.commit([2, 4], beside(20, 40));
    expect(found(recycled, 1, 2)).toEqual([3, 30]);
    expect(recycled.pair).toBe(true);
    expect(found(recycled, 3, 2)).toEqual([4, 40]);
    expect(found(recycled, 7, 2)).toEqual([4, 40]);
    expect(recycled.pair).toBe(false);
    expect(found(recycled, 1, 4)).toBeNull();
  });

  test("of the last tokens alone are known where not all are", () => {
    const recycled = new Recycled();
    recycled.commit([1, 2, 3], beside(30));
    expect(found(recycled, 1, 2)).toEqual([3, 30]);
    expect(found(recycled, 0, 1)).toBeNull();
  });

  test("stay as they were while more come", () => {
    const recycled = new Recycled();
    const tokens = Array.from({ length: 500 }, (_, i) => i);
    for (const token of tokens) recycled.commit([token], beside(1000 + token));
    for (const token of tokens.slice(2)) expect(found(recycled, token - 2, token - 1)).toEqual([token, 1000 + token]);
    expect(recycled.tokens.length % RECYCLED).toBe(0);
  });

  test("are drafted without heads and without n-grams, and only where asked for", () => {
    const weights = new Array<number>(WEIGHTS).fill(0);
    const calibration = {
      version: CALIBRATION_VERSION,
      command: "",
      pack: null,
      weights: { heads: weights, "heads+recycled": weights },
    };
    const draft = (recycled: boolean) => {
      const rescorer = createRescorer({ type: "tree", order: 2, alpha: 0, prompt: false, recycled }, null, calibration);
      rescorer.commit([1, 2]);
      rescorer.commit([3, 1, 2], { k: 2, tokens: Uint32Array.of(8, 9, 6, 7, 4, 5), gaps: new Uint8Array(6) });
      return rescorer.draft(EMPTY_LATTICE, 3, { depth: 1, floor: 0 });
    };
    expect(draft(false).tokens).toHaveLength(0);
    expect([...draft(true).tokens]).toEqual([3, 8, 9]);
    expect(draft(true).sources).toEqual(new Uint8Array(3).fill(SOURCES.indexOf("recycled")));
  });
});
