import { describe, expect, test } from "vitest";
import { statisticInterval } from "../../bench/eval/bootstrap.ts";
import { copiedTokens } from "../../bench/eval/copied.ts";
import { countCopied, emptyCounters } from "../../bench/eval/counters.ts";
import type { RowResult } from "../../bench/eval/evaluate.ts";
import { addReliability, countReliability, type Reliability } from "../../bench/eval/reliability.ts";
import { mtBench, mtBenchCategory } from "../../bench/suite/mt-bench.ts";
import { treeOf } from "../../shared/draft-tree.ts";
import { ROOT } from "../../shared/ids.ts";

describe("copied tokens", () => {
  const eight = [1, 2, 3, 4, 5, 6, 7, 8];

  test("end an 8-gram that came before, in the prompt or in the answer", () => {
    expect(copiedTokens([...eight, 9], eight)).toEqual([false, false, false, false, false, false, false, true]);
    const again = copiedTokens([9], [...eight, 9, ...eight, 9]);
    expect(again.map(Number).join("")).toBe("000000000000000111");
    expect(copiedTokens(eight, [8, 8])).toEqual([false, false]);
  });

  test("take an equal part of the step that committed them", () => {
    const counters = emptyCounters();
    countCopied(counters, [true, true, true, false]);
    countCopied(counters, [false]);
    countCopied(counters, [true]);
    expect(counters.copied).toEqual({ tokens: 4, steps: 1.75 });
  });
});

test("reliability counts each node by depth and by source, in the tenth of its chance", () => {
  const tree = treeOf([5, 6, 7], [ROOT, 0, ROOT], Uint8Array.of(255, 128, 51), Uint8Array.of(0, 1, 0));
  const counted: Reliability = new Map();
  countReliability(counted, tree, [0]);
  addReliability(counted, structuredClone(counted));
  expect([...counted.keys()].sort()).toEqual(["depth 1", "depth 2", "lattice", "prompt"]);
  expect(counted.get("depth 1")![9]).toEqual({ nodes: 2, predicted: 2, accepted: 2 });
  expect(counted.get("depth 1")![2]).toEqual({ nodes: 2, predicted: 0.4, accepted: 0 });
  expect(counted.get("prompt")![5]).toMatchObject({ nodes: 2, accepted: 0 });
});

test("an interval of any statistic resamples whole things, and leaves out samples that have none", () => {
  const mean = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
  const [low, high] = statisticInterval([1, 2, 3, 4, 5, 6, 7, 8], 1, mean)!;
  expect(low).toBeGreaterThan(2);
  expect(low).toBeLessThan(4.5);
  expect(high).toBeGreaterThan(4.5);
  expect(high).toBeLessThan(7);
  expect(statisticInterval([1, 2], 1, () => null)).toBeNull();
});

describe("MT-Bench's categories", () => {
  test("go by the number of the question", () => {
    expect([81, 90, 91, 121, 160].map((n) => mtBenchCategory(`spec_bench/${n}`))).toEqual([
      "writing",
      "writing",
      "roleplay",
      "coding",
      "humanities",
    ]);
    expect(["spec_bench/80", "spec_bench/161", "gsm8k/81"].map(mtBenchCategory)).toEqual([null, null, null]);
  });

  test("are summarised in their own order, without rows of others", () => {
    const row = (id: string): RowResult => ({ id, category: "multi-turn", turns: 1, methods: new Map() });
    expect(Object.keys(mtBench(["spec_bench/150", "spec_bench/81", "x/82"].map(row), ["none"], 1)!)).toEqual([
      "writing",
      "stem",
    ]);
    expect(mtBench([row("spec_bench/481")], ["none"], 1)).toBeNull();
  });
});
