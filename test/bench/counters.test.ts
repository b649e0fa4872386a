import { describe, expect, test } from "vitest";
import { efficiencyInterval, gainInterval } from "../../bench/eval/bootstrap.ts";
import {
  addCounters,
  blockEfficiency,
  countEntropy,
  countRepetition,
  countStep,
  emptyCounters,
  emptyRepetition,
  firstPath,
  stepRecord,
} from "../../bench/eval/counters.ts";
import { recordRescorer } from "../../bench/eval/record.ts";
import { chain, EMPTY_TREE, mergePaths } from "../../shared/draft-tree.ts";
import { createLattice } from "../../shared/lattice.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";

describe("block efficiency", () => {
  test("is committed tokens over steps, bonus tokens included", () => {
    const counters = emptyCounters();
    countStep(counters, stepRecord(chain([5, 6, 7]), 2, 3)); // two accepted and a bonus
    countStep(counters, stepRecord(chain([5, 6, 7]), 0, 1)); // only the bonus
    countStep(counters, stepRecord(EMPTY_TREE, 0, 1)); // a plain step
    expect(blockEfficiency(counters)).toBeCloseTo(5 / 3);
    expect(counters).toMatchObject({ tokens: 5, steps: 3, drafts: 2, draftedTokens: 6, acceptedTokens: 2 });
    expect(counters.acceptedByPosition).toEqual([1, 1]);
    expect(counters.draftedByPosition).toEqual([2, 2, 2]);
  });

  test("is exactly 1 for plain decoding", () => {
    const counters = emptyCounters();
    for (let i = 0; i < 7; i++) countStep(counters, stepRecord(EMPTY_TREE, 0, 1));
    expect(blockEfficiency(counters)).toBe(1);
  });

  test("leaves out what lies beyond the end of the completion", () => {
    const counters = emptyCounters();
    countStep(counters, stepRecord(chain([5, 6, 7]), 3, 2)); // the limit fell inside the accepted path
    countStep(counters, stepRecord(chain([5, 6, 7]), 2, 2)); // ... and just before the bonus token
    expect(counters).toMatchObject({ tokens: 4, steps: 2, acceptedTokens: 4 });
  });

  test("of no step is unknown", () => {
    expect(blockEfficiency(emptyCounters())).toBeNull();
  });

  test("of several prompts is the ratio of the sums, not the mean of the ratios", () => {
    const sum = emptyCounters();
    const long = emptyCounters();
    const short = emptyCounters();
    for (let i = 0; i < 9; i++) countStep(long, stepRecord(EMPTY_TREE, 0, 1));
    countStep(short, stepRecord(chain([1, 2, 3]), 3, 4));
    addCounters(sum, long);
    addCounters(sum, short);
    expect(blockEfficiency(sum)).toBeCloseTo(13 / 10);
    expect(sum.acceptedByPosition).toEqual([1, 1, 1]);
  });
});

test("a tree's depth, not its number of nodes, is what positions count", () => {
  const counters = emptyCounters();
  countStep(counters, stepRecord(mergePaths([[1, 2], [1, 3], [4]]), 1, 2));
  expect(counters.draftedByPosition).toEqual([1, 1]);
  expect(counters.draftedTokens).toBe(4);
});

test("a recorded rescorer is asked as it would be, and its drafts and what it knows of them stay as they are", () => {
  const asked: unknown[] = [];
  const tree = chain([5, 5], Uint8Array.of(9, 4));
  const lattice = createLattice(2, 1, Uint32Array.of(5, 6), new Float32Array(2));
  for (const calibrated of [true, false]) {
    const counters = emptyCounters();
    const rescorer: Rescorer = {
      ...(calibrated ? { calibrated } : {}),
      commit: (tokens) => void asked.push([...Array.from(tokens)]),
      draft: (...args) => {
        asked.push(args);
        return tree;
      },
    };
    const recorded = recordRescorer(rescorer, counters);
    expect(recorded.calibrated).toBe(calibrated);
    recorded.commit([1, 2]);
    expect(recorded.draft(lattice, 7, { depth: 3, floor: 0.2 })).toBe(tree);
    expect(asked.splice(0)).toEqual([
      [1, 2],
      [lattice, 7, { depth: 3, floor: 0.2 }],
    ]);
    expect(counters).toMatchObject({ before: { equalPairs: 0 }, after: { equalPairs: 1 }, entropyCount: [1, 1] });
  }
});

test("the first path of a merged tree is the best one", () => {
  expect(
    firstPath(
      mergePaths([
        [1, 2, 3],
        [1, 2, 4],
        [5, 2, 3],
      ]),
    ),
  ).toEqual([1, 2, 3]);
  expect(firstPath(EMPTY_TREE)).toEqual([]);
});

test("repetition counts equal neighbours and the longest run", () => {
  const counts = emptyRepetition();
  countRepetition(counts, [7, 7, 7, 2, 2, 9]);
  countRepetition(counts, [1, 2, 3]);
  countRepetition(counts, []);
  expect(counts).toEqual({ pairs: 7, equalPairs: 3, longestRun: 3, runSum: 4, paths: 2 });
});

test("entropy counts the mass outside the candidates as one more outcome", () => {
  const counters = emptyCounters();
  const logProbs = Float32Array.from([Math.log(0.5), Math.log(0.25), 0, -Infinity]);
  countEntropy(counters, createLattice(2, 2, new Uint32Array(4), logProbs));
  expect(counters.entropySum[0]).toBeCloseTo(0.5 * Math.log(2) + 0.5 * Math.log(4), 5);
  expect(counters.entropySum[1]).toBe(0);
});

describe("confidence interval", () => {
  const prompts = Array.from({ length: 40 }, (_, i) => ({ tokens: 100, steps: 40 + (i % 20) }));

  test("contains the efficiency and repeats with its seed", () => {
    const [low, high] = efficiencyInterval(prompts, 3)!;
    const efficiency = 4000 / prompts.reduce((sum, p) => sum + p.steps, 0);
    expect(low).toBeLessThan(efficiency);
    expect(high).toBeGreaterThan(efficiency);
    expect(efficiencyInterval(prompts, 3)).toEqual([low, high]);
  });

  test("of a gain is paired: a constant advantage has no spread", () => {
    const faster = prompts.map(({ tokens, steps }) => ({ tokens: tokens * 1.1, steps }));
    const [low, high] = gainInterval(faster, prompts, 1)!;
    expect(low).toBeCloseTo(0.1);
    expect(high).toBeCloseTo(0.1);
  });

  test("of nothing is unknown", () => {
    expect(efficiencyInterval([], 1)).toBeNull();
    expect(efficiencyInterval([{ tokens: 0, steps: 0 }], 1)).toBeNull();
  });
});
