import { expect, test } from "vitest";
import { formatWhatIf, whatIf } from "../../bench/eval/what-if.ts";

const METHODS = {
  none: { block_efficiency: 2 },
  tree: { block_efficiency: 4 },
  unused: { block_efficiency: null },
};

test("a far edge waits a round trip for each step, and auto does not", () => {
  const far = whatIf({ rttMs: 40, stepMs: 5 }, METHODS);
  expect(far.methods).toEqual({
    plain: { tokens_per_step: 1, edge: 22.2, gpu: 200, auto: 200, chosen: "gpu" },
    none: { tokens_per_step: 2, edge: 44.4, gpu: 400, auto: 400, chosen: "gpu" },
    tree: { tokens_per_step: 4, edge: 88.9, gpu: 800, auto: 800, chosen: "gpu" },
  });
  expect(far.break_even_gain).toBe(8);
  expect(formatWhatIf(far)).toContain("more than 800 %");
});

test("a near edge costs little, and auto drafts there", () => {
  const near = whatIf({ rttMs: 0.5, stepMs: 10 }, METHODS);
  expect(near.methods.tree).toEqual({ tokens_per_step: 4, edge: 381, gpu: 400, auto: 381, chosen: "edge" });
});
