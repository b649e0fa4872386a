import { access, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildBase } from "../../models/compile/base.ts";
import { writeIntegerModel } from "../../models/compile/integer.ts";
import { TensorFile } from "../../models/tensor-file.ts";
import type { GraphPrecision, Precision } from "../../shared/manifest.ts";
import { Random } from "../helpers/random.ts";
import { BaseRunner, type PlainRunner } from "./base-runner.ts";
import { expectNear } from "./expect-near.ts";
import { IntegerRunner } from "./integer-runner.ts";
import { type NaiveLlama, type NaiveOptions, naiveLlama } from "./naive-llama.ts";

const SHAPES: readonly (NaiveOptions & { name: string; taps: number[] })[] = [
  {
    name: "grouped queries",
    layers: 2,
    width: 64,
    heads: 4,
    kvHeads: 2,
    ffn: 96,
    vocabSize: 52,
    tied: true,
    taps: [0],
  },
  { name: "one key head", layers: 1, width: 32, heads: 4, kvHeads: 1, ffn: 64, vocabSize: 40, tied: false, taps: [] },
  {
    name: "full attention",
    layers: 3,
    width: 64,
    heads: 2,
    kvHeads: 2,
    ffn: 64,
    vocabSize: 36,
    tied: true,
    taps: [0, 2],
  },
];
/** Relative to the largest value. float32 sums against float64 ones; products of 11 bits; 8 bits of weight and activation. */
const TOLERANCE: Record<Precision, number> = { fp32: 2e-5, fp16: 4e-3, int8: 0.12 };

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-compile-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function compiled({ weights }: NaiveLlama, taps: readonly number[], precision: Precision): Promise<PlainRunner> {
  if (precision === "fp32") return await BaseRunner.open(await buildBase(weights, 64, taps, precision), weights.config);
  if (precision === "fp16") return await BaseRunner.open(await writeGraph(weights, taps, precision), weights.config);
  const path = join(dir, "base.safetensors");
  await writeIntegerModel(path, weights, () => undefined);
  return await IntegerRunner.open(path, weights.config, taps);
}

/** As a bundle has it, its large tensors in a file of their own. */
async function writeGraph(weights: NaiveLlama["weights"], taps: readonly number[], precision: GraphPrecision) {
  const path = join(dir, `${precision}.onnx`);
  const store = new TensorFile(dir, `${precision}.onnx.data`);
  await writeFile(path, await buildBase(weights, 64, taps, precision, { store }));
  store.close();
  return path;
}

describe.each(["fp32", "fp16", "int8"] as const)("a random base model in %s", (precision) => {
  it.each(SHAPES)("matches a naive float64 forward pass: $name", async ({ taps, ...options }) => {
    const random = new Random(options.vocabSize);
    const naive = naiveLlama(options, random);
    const runner = await compiled(naive, taps, precision);
    const prefix = Array.from({ length: 5 }, () => random.int(0, options.vocabSize - 1));
    const drafted = Array.from({ length: 4 }, () => random.int(0, options.vocabSize - 1));
    // Two branches after the first row: 0 -> 1 -> 3 and 0 -> 2.
    const parents = [-1, 0, 0, 1];
    const paths = [[0], [0, 1], [0, 2], [0, 1, 3]];
    await runner.run(prefix);
    const wanted = [3, 0, 2];
    const out = await runner.run(drafted, parents, [], wanted);
    wanted.forEach((node, r) => {
      const text = [...prefix, ...paths[node]!.map((i) => drafted[i]!)];
      const { logits, features } = naive.forward(text, taps);
      const row = out.logits.subarray(r * options.vocabSize, (r + 1) * options.vocabSize);
      expectNear(row, logits, TOLERANCE[precision]);
      expectNear(out.hidden.subarray(r * features.length, (r + 1) * features.length), features, TOLERANCE[precision]);
      expect(out.argmax[r]).toBe(row.indexOf(Math.max(...row)));
    });
    await runner.close();
  });
});

it.each(["fp32", "fp16"] as const)(
  "keeps large tensors of %s outside the graph, and computes the same",
  async (precision) => {
    const { weights } = naiveLlama({ ...SHAPES[2]!, width: 128, ffn: 256 }, new Random(5));
    const { config } = weights;
    const path = await writeGraph(weights, [1], precision);
    const graph = await buildBase(weights, 64, [1], precision);
    const outside = await stat(`${path}.data`);
    expect(outside.size).toBeGreaterThan(graph.length / 2);
    expect((await stat(path)).size).toBeLessThan(graph.length - outside.size / 2);
    const [apart, whole] = [await BaseRunner.open(path, config), await BaseRunner.open(graph, config)];
    const tokens = [3, 1, 4, 1, 5];
    expect((await apart.run(tokens)).logits).toEqual((await whole.run(tokens)).logits);
    await Promise.all([apart.close(), whole.close()]);
  },
);

it.each([
  ["vocabSize", 4, { vocabSize: 50 }],
  ["width", 8, { width: 36, heads: 1, kvHeads: 1 }],
  ["headDim", 8, { width: 64, heads: 16, kvHeads: 16 }],
  ["ffn", 8, { ffn: 100 }],
])("does not make integers of a model whose %s is no multiple of %i", async (name, unit, changes) => {
  const { weights } = naiveLlama({ ...SHAPES[0]!, ...changes }, new Random(1));
  const path = join(dir, "refused.safetensors");
  const compiling = writeIntegerModel(path, weights, () => undefined);
  await expect(compiling).rejects.toThrow(`int8 needs a ${name} that is a multiple of ${unit}`);
  await expect(access(path)).rejects.toThrow("ENOENT");
});
