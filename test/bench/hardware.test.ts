import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type HardwareShape, hardwareCost, NO_WEIGHTS } from "../../bench/eval/hardware.ts";
import { hardwareShape } from "../../bench/eval/hardware-shape.ts";
import { ensureBundle } from "../../models/bundle.ts";

const SHAPE: HardwareShape = {
  layers: 2,
  attentionHeads: 4,
  headDim: 8,
  kvBytesPerToken: 100,
  base: { bytes: 1e9, parameters: 2e9 },
  heads: { bytes: 1e8, parameters: 3e8 },
};
const PLAIN = { tokens: 10, steps: 10, draftedNodes: 0, headsRun: false, rescorer: NO_WEIGHTS };

test.each([
  ["int8", 1],
  ["fp16", 2],
  ["fp32", 4],
] as const)("a bundle's heads have the weights that they multiply by, in %s", async (precision, size) => {
  const dir = await ensureBundle("tiny", { precision });
  const { heads } = await hardwareShape(JSON.parse(await readFile(join(dir, "manifest.json"), "utf8")));
  // Width 128, a hidden layer of 256 over three features, seven heads over 2048 tokens.
  const output = 2048 * 128;
  const matrices = 256 * 384 + 7 * 128 * 256 + output;
  // The query of pairs, of rank 16, stays in float32 beside integers.
  const query = 2 * 16 * 256;
  const bytes = matrices * size + query * (size === 1 ? 4 : size);
  const stored = matrices + query;
  expect(heads.bytes / bytes).toBeGreaterThanOrEqual(1);
  expect(heads.bytes / bytes).toBeLessThan(1.06);
  expect(heads.parameters / (stored + 6 * output)).toBeGreaterThanOrEqual(1);
  expect(heads.parameters / (stored + 6 * output)).toBeLessThan(1.06);
});

describe("the hardware model", () => {
  test("reads every parameter once a step, heads and rescorer only where they run", () => {
    expect(hardwareCost(SHAPE, PLAIN).parameter_io_gb).toBeCloseTo(10);
    expect(hardwareCost(SHAPE, { ...PLAIN, steps: 4, headsRun: true }).parameter_io_gb).toBeCloseTo(4.4);
    const rescorer = { bytes: 5e8, parameters: 0 };
    expect(hardwareCost(SHAPE, { ...PLAIN, steps: 4, headsRun: true, rescorer }).parameter_io_gb).toBeCloseTo(6.4);
  });

  test("reads the cache once a step, whatever is drafted, and writes each token once", () => {
    const cost = hardwareCost(SHAPE, { ...PLAIN, steps: 5, draftedNodes: 60 });
    expect(cost.kv_io_gb[512]).toBeCloseTo(((5 * 512 + 10) * 100) / 1e9, 12);
    expect(Object.keys(cost.kv_io_gb)).toEqual(["128", "512", "1024", "2048"]);
  });

  test("multiplies every drafted row with the base model, and the context with every row", () => {
    const cost = hardwareCost(SHAPE, { ...PLAIN, steps: 5, draftedNodes: 40, headsRun: true });
    const attention = 4 * 45 * 512 * 2 * 4 * 8;
    expect(cost.flops_t * 1e12).toBeCloseTo(2 * (45 * 2e9 + 5 * 3e8) + attention, -3);
  });
});
