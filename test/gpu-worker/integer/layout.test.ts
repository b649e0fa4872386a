import { expect, test } from "vitest";
import { type IntegerShape, layOut, llamaTraits, pageBytes, shardStarts } from "../../../gpu-worker/integer/layout.ts";
import { IntegerWeights } from "../../../gpu-worker/integer/weights.ts";

const SHAPE: IntegerShape = {
  layers: 2,
  width: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  ffn: 192,
  vocabSize: 100,
  contextTokens: 256,
  normEps: 1e-5,
  // All that a model may have beside Llama.
  traits: {
    ...llamaTraits({ layers: 2, headDim: 16 }),
    biases: true,
    headNorms: true,
    postNorms: true,
    localRopeFrequencies: [],
  },
  taps: [0],
  kvBytes: 1 << 20,
  members: 3,
  drafts: { heads: 5, topK: 4, inner: 384, vocabSize: 64, gated: true, pairRank: 16 },
};

test("every member has a share of the columns, in eights, as even as can be", () => {
  for (const columns of [8, 64, 100, 192, 2048, 49_152]) {
    for (const members of [1, 2, 3, 7, 64]) {
      const starts = [...shardStarts(columns, members)];
      expect([starts[0], starts.at(-1), starts.length]).toEqual([0, columns, members + 1]);
      const shares = starts.slice(1).map((end, i) => end - starts[i]!);
      expect(shares.every((share) => share >= 0)).toBe(true);
      expect(starts.slice(0, -1).every((start) => start % 8 === 0)).toBe(true);
      expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(16);
    }
  }
});

/** Every address of a layout, and what the names of its part are. */
function addressesOf(value: unknown): number[] {
  if (typeof value === "number") return [value];
  return Object.values(value as object).flatMap(addressesOf);
}

test.each([true, false])(
  "nothing lies where something else does, and the cache takes what is left (%s)",
  (headNorms) => {
    // With norms of keys their bias is in the cache, without them it has a place of its own.
    const shape = { ...SHAPE, traits: { ...SHAPE.traits, headNorms } };
    const { pages, ffnBlock, headBlock, widthPower, draftBlock, wasmPages, ...places } = layOut(shape);
    expect(places.blocks.map(({ keyBias }) => keyBias > 0)).toEqual([!headNorms, !headNorms]);
    const addresses = addressesOf(places).filter((at) => at !== 0);
    expect(new Set(addresses).size).toBe(addresses.length);
    expect(addresses.every((at) => at % 64 === 0 && at >= 1 << 16)).toBe(true);
    expect(Math.max(...addresses)).toBe(places.arena);
    expect(pages).toBe(Math.floor(SHAPE.kvBytes / pageBytes(SHAPE)));
    expect(wasmPages).toBe(Math.ceil((places.arena + pages * pageBytes(SHAPE)) / 65_536));
    expect([ffnBlock, headBlock, widthPower, draftBlock]).toEqual([64, 16, 64, 64]);
  },
);

test("a page holds keys and values of eight bits and a scale of each", () => {
  expect(pageBytes(SHAPE)).toBe(2 * 2 * 16 * (16 + 16 + 4 + 4));
});

test("the cache is no larger than what WebAssembly can address, and not smaller than a page", () => {
  const { wasmPages, pages } = layOut({ ...SHAPE, kvBytes: 2 ** 40 });
  expect(wasmPages).toBeLessThanOrEqual(65_536);
  expect(pages * pageBytes(SHAPE)).toBeGreaterThan(2 ** 31);
  expect(() => layOut({ ...SHAPE, kvBytes: pageBytes(SHAPE) - 1 })).toThrow("holds no page");
});

/** A safetensors file with one tensor. */
function file(dtype: string, shape: readonly number[], data: Uint8Array, end = data.length): Uint8Array {
  const header = Buffer.from(JSON.stringify({ x: { dtype, shape, data_offsets: [0, end] } }).padEnd(80));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Uint8Array.from(Buffer.concat([length, header, data]));
}

test("weights are read as what they are", () => {
  const data = Uint8Array.from({ length: 24 }, (_, i) => i - 12);
  const weights = new IntegerWeights(file("I8", [4, 6], data));
  expect([...weights.int8("x", 24)]).toEqual([...new Int8Array(data.buffer)]);
  // Columns 1 and 2, then 4 and 5, of each of the four rows.
  const { K, N, values } = weights.columns("x", 4, 6, [
    [1, 3],
    [4, 6],
  ]);
  expect([K, N]).toEqual([4, 4]);
  expect([...values]).toEqual([0, 1, 2, 3].flatMap((k) => [1, 2, 4, 5].map((n) => 6 * k + n - 12)));
  const floats = Float32Array.of(1.5, -2);
  expect([...new IntegerWeights(file("F32", [2], new Uint8Array(floats.buffer))).float32("x", 2)]).toEqual([1.5, -2]);
});

test("columns are picked one by one, and a tensor's sizes are told", () => {
  const data = Uint8Array.from({ length: 24 }, (_, i) => i - 12);
  const weights = new IntegerWeights(file("I8", [4, 6], data));
  const { K, N, values } = weights.pick("x", 4, 6, Int32Array.of(0, 5, 3));
  expect([K, N]).toEqual([4, 3]);
  expect([...values]).toEqual([0, 1, 2, 3].flatMap((k) => [0, 5, 3].map((n) => 6 * k + n - 12)));
  expect(weights.shape("x", 2)).toEqual([4, 6]);
  expect([weights.has("x"), weights.has("y")]).toEqual([true, false]);
  expect(() => weights.shape("x", 1)).toThrow("the weights lack x of 1 dimensions");
  expect(() => weights.shape("y", 2)).toThrow("the weights lack y of 2 dimensions");
});

test("weights that are not there, of another type or size, or no weights, are named", () => {
  const weights = new IntegerWeights(file("I8", [8], new Uint8Array(8)));
  expect(() => weights.int8("y", 8)).toThrow("the weights lack y, 8 bytes of I8");
  expect(() => weights.int8("x", 9)).toThrow("the weights lack x, 9 bytes of I8");
  expect(() => weights.int32("x", 2)).toThrow("the weights lack x, 8 bytes of I32");
  expect(() => new IntegerWeights(file("I8", [9], new Uint8Array(8), 9))).toThrow("tensor x lies outside the file");
  expect(() => new IntegerWeights(new Uint8Array(7))).toThrow("not a safetensors file");
  expect(() => new IntegerWeights(new Uint8Array(64).fill(255))).toThrow("not a safetensors file");
});
