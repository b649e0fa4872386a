import { beforeEach, describe, expect, test } from "vitest";
import { Random } from "../../helpers/random.ts";
import { KernelMemory, PAGE, SHAPE } from "./kernel-memory.ts";
import {
  expectBytes,
  expectWords,
  f,
  near,
  quantise,
  range,
  productOf as scalarProduct,
  transformed,
} from "./scalar.ts";

/*
 * Every function of the kernel beside its definition in scalar code. Integers, and floats that are products and sums in
 * a given order, to the last bit; what follows from an exponential, a sum of squares or a transform within a tolerance.
 */

const ROWS = 5;

let memory: KernelMemory;
let random: Random;
beforeEach(async () => {
  memory = await KernelMemory.of(SHAPE);
  random = new Random(17);
});

const productOf = (columns: number, starts: readonly number[], times = 1) =>
  scalarProduct(memory, random, ROWS, columns, starts, times);

test("embed: bytes times their row's scale", () => {
  const { width } = SHAPE;
  const table = Int8Array.from({ length: 9 * width }, () => random.int(-128, 127));
  const stored = memory.bytes(9 * width);
  stored.set(new Uint8Array(table.buffer));
  const scales = memory.floats(9, () => random.unit());
  const tokens = memory.ints([3, 0, 8, 3, 7]);
  const x = memory.floats(ROWS * width);
  memory.kernel.embed(1, 4, tokens.byteOffset, stored.byteOffset, scales.byteOffset, x.byteOffset);
  const expected = [...tokens].flatMap((token, row) =>
    range(width).map((i) => (row >= 1 && row < 4 ? f(table[token * width + i]! * scales[token]!) : 0)),
  );
  expect([...x]).toEqual(expected);
});

describe.each([[[0]], [[0, 8, 8, 24]]])("with columns in shards from %j on", (starts) => {
  test("addAndNormalise: the stream plus a product, and its normalised row in bytes", () => {
    const { width } = SHAPE;
    const { at, addresses } = productOf(width, starts);
    const before = range(ROWS * width).map(() => f(random.unit() * 4 - 2));
    const x = memory.floats(ROWS * width, (i) => before[i]!);
    const bytes = memory.bytes(ROWS * width);
    const byteScales = memory.floats(ROWS);
    const { kernel, epsilon } = memory;
    kernel.addAndNormalise(0, ROWS, ROWS, ...addresses, 0, x.byteOffset, bytes.byteOffset, byteScales.byteOffset);
    for (let row = 0; row < ROWS; row++) {
      const sum = range(width).map((i) => f(before[row * width + i]! + at(row, i)));
      expect([...x.subarray(row * width, (row + 1) * width)]).toEqual(sum);
      const { values, step } = quantise(sum);
      expect([...bytes.subarray(row * width, (row + 1) * width)]).toEqual(values.map((value) => value + 128));
      const square = sum.reduce((total, value) => total + value * value, 0) / width;
      near(byteScales[row]!, step / Math.sqrt(square + epsilon), 1e-6);
    }
  });

  test("gate: silu of one product times another one, transformed by blocks, in bytes", () => {
    const { ffn, ffnBlock } = SHAPE;
    const { at, addresses } = productOf(ffn, starts, 2);
    const [scratch, bytes, byteScales] = [memory.floats(ffn), memory.bytes(ROWS * ffn), memory.floats(ROWS)];
    const places = [scratch, bytes, byteScales].map(({ byteOffset }) => byteOffset) as [number, number, number];
    memory.kernel.gate(0, ROWS, ROWS, ...addresses, 0, ...places);
    for (let row = 0; row < ROWS; row++) {
      const gated = range(ffn).map((i) => (at(row, i) / (1 + Math.exp(-at(row, i)))) * at(row, ffn + i));
      const { values, step } = quantise(transformed(gated, ffnBlock));
      near(byteScales[row]!, step, 1e-5);
      expectBytes(bytes.subarray(row * ffn, (row + 1) * ffn), values);
    }
  });

  test("logits: the product, and the first of the likeliest tokens", () => {
    const columns = 44;
    const { at, addresses } = productOf(columns, starts);
    const best = memory.ints(new Array<number>(ROWS).fill(-1));
    const floats = memory.floats(ROWS * columns);
    const [sums, shards, ...rest] = addresses;
    memory.kernel.logits(0, ROWS, ROWS, sums, shards, columns, ...rest, best.byteOffset, floats.byteOffset, 0);
    for (let row = 0; row < ROWS; row++) {
      const expected = range(columns).map((n) => at(row, n));
      expect([...floats.subarray(row * columns, (row + 1) * columns)]).toEqual(expected);
      expect(best[row]).toBe(expected.indexOf(Math.max(...expected)));
    }
    const again = memory.ints(new Array<number>(ROWS).fill(-1));
    memory.kernel.logits(0, ROWS, ROWS, sums, shards, columns, ...rest, again.byteOffset, 0, 0);
    expect([...again]).toEqual([...best]);
  });
});

test("addAndNormalise without a product normalises, without bytes adds", () => {
  const { width } = SHAPE;
  const x = memory.floats(ROWS * width, () => random.unit() - 0.5);
  const before = [...x];
  const bytes = memory.bytes(ROWS * width);
  const byteScales = memory.floats(ROWS);
  const { kernel } = memory;
  kernel.addAndNormalise(0, ROWS, ROWS, 0, 0, 0, 0, 0, 0, x.byteOffset, bytes.byteOffset, byteScales.byteOffset);
  expect([...x]).toEqual(before);
  const { values } = quantise(before.slice(0, width));
  expect([...bytes.subarray(0, width)]).toEqual(values.map((value) => value + 128));
  const { at, addresses } = productOf(width, [0]);
  kernel.addAndNormalise(0, ROWS, ROWS, ...addresses, 0, x.byteOffset, 0, 0);
  expect([...x]).toEqual(before.map((value, i) => f(value + at(Math.floor(i / width), i % width))));
});

test("of logits that are equal the lowest token is the best, wherever in a vector or a shard it stands", () => {
  const columns = 40;
  const starts = [0, 16];
  for (let round = 0; round < 100; round++) {
    const tied = new Set(range(random.int(1, 5)).map(() => random.int(0, columns - 1)));
    const sums = memory.ints(range(columns).map((n) => (tied.has(n) ? 7 : random.int(-9, 6))));
    const zeros = memory.ints(new Array<number>(columns).fill(0));
    const ones = memory.floats(columns, () => 1);
    const best = memory.ints([-1]);
    const places = [zeros, ones, ones, best].map(({ byteOffset }) => byteOffset) as [number, number, number, number];
    const shards = memory.ints([...starts, columns]);
    memory.kernel.logits(0, 1, 1, sums.byteOffset, shards.byteOffset, columns, ...places, 0, 0);
    expect(best[0], [...tied].join()).toBe(Math.min(...tied));
  }
});

test("quantise: rows in bytes, ties to even, and a row of zeros as such", () => {
  const rows = [
    range(24).map(() => f(random.unit() * 6 - 3)),
    [127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127, ...range(16)],
    new Array<number>(24).fill(0),
  ];
  const source = memory.floats(3 * 24, (i) => rows.flat()[i]!);
  const bytes = memory.bytes(3 * 24);
  const byteScales = memory.floats(3, () => 9);
  memory.kernel.quantise(0, 3, source.byteOffset, 24, bytes.byteOffset, byteScales.byteOffset);
  const expected = rows.map((row) => (row.every((value) => value === 0) ? { values: row, step: 0 } : quantise(row)));
  expect([...bytes]).toEqual(expected.flatMap(({ values }) => values.map((value) => value + 128)));
  expect([...byteScales]).toEqual(expected.map(({ step }) => step));
  expect([...bytes.subarray(24, 32)]).toEqual([255, 128, 130, 130, 128, 126, 126, 1]);
});

test("splitHeads: queries, and keys and values in the cache at the rows' slots", () => {
  const { heads, kvHeads, headDim, context, headBlock } = SHAPE;
  const half = headDim / 2;
  for (let i = 0; i < context * half; i++) {
    memory.angles[i] = Math.cos(i * 0.37);
    memory.angles[context * half + i] = Math.sin(i * 0.37);
  }
  const columns = (heads + 2 * kvHeads) * headDim;
  const { at, addresses } = productOf(columns, [0, 24, 24, 96]);
  const positions = [0, 799, 13, 14, 14];
  const slots = [5, 799, 16, 31, 32];
  const scratch = memory.floats(columns + headDim);
  const queries = memory.words(ROWS * heads * headDim);
  const queryScales = memory.floats(ROWS * heads);
  const [sums, shards, offsets, columnScales, scales] = addresses;
  const places = [memory.ints(positions).byteOffset, memory.ints(slots).byteOffset] as const;
  const out = [scratch.byteOffset, queries.byteOffset, queryScales.byteOffset] as const;
  const plain = [0, 0, memory.angles.byteOffset, 0, 0] as const;
  const products = [sums, shards, offsets, columnScales, scales] as const;
  memory.kernel.splitHeads(0, ROWS, ROWS, 1, ...products, ...places, 0.25, ...plain, ...out);
  const before = memory.cache.content;
  for (let row = 0; row < ROWS; row++) {
    const head = (index: number) => range(headDim).map((d) => at(row, index * headDim + d));
    const placed = (index: number) => {
      const values = head(index);
      const angle = (d: number) => positions[row]! * half + (d % half);
      const rotated = values.map((value, d) => {
        const other = d < half ? -values[d + half]! : values[d - half]!;
        return value * memory.angles[angle(d)]! + other * memory.angles[context * half + angle(d)]!;
      });
      return quantise(transformed(rotated, headBlock));
    };
    for (let h = 0; h < heads; h++) {
      const { values, step } = placed(h);
      const query = row * heads + h;
      expectWords(queries.subarray(query * headDim, (query + 1) * headDim), values);
      near(queryScales[query]!, step * 0.25, 1e-5);
    }
    for (let h = 0; h < kvHeads; h++) {
      const key = placed(heads + h);
      const cached = memory.cache.key(1, h, slots[row]!);
      expectWords(cached.values, key.values);
      near(cached.scale, key.step, 1e-5);
      const value = quantise(head(heads + kvHeads + h));
      expect(memory.cache.value(1, h, slots[row]!)).toEqual({ values: value.values, scale: value.step });
    }
  }
  // The other layer, and what is not a row's slot, stays empty.
  expect(memory.cache.key(0, 0, 5).scale).toBe(0);
  expect(before.filter((byte) => byte !== 0).length).toBeLessThanOrEqual(ROWS * kvHeads * (2 * headDim + 8));
});

test("moveSlot: one slot's keys and values of every layer, and nothing else", () => {
  const { layers, kvHeads, pages } = SHAPE;
  const all = range(layers).flatMap((layer) => range(kvHeads).map((head) => [layer, head] as const));
  for (const [layer, head] of all)
    for (let slot = 0; slot < pages * PAGE; slot++) memory.cache.put(layer, head, slot, random);
  const read = (slot: number) =>
    all.map(([layer, head]) => [memory.cache.key(layer, head, slot), memory.cache.value(layer, head, slot)]);
  const before = range(pages * PAGE).map(read);
  for (const [from, to] of [
    [3, 700],
    [41, 40],
    [15, 16],
    [8, 7],
  ] as const) {
    memory.kernel.moveSlot(layers, from, to);
    before[to] = before[from]!;
  }
  expect(range(pages * PAGE).map(read)).toEqual(before);
});
