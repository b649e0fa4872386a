import { beforeEach, describe, expect, test } from "vitest";
import { Random } from "../../helpers/random.ts";
import { KernelMemory, SHAPE } from "./kernel-memory.ts";
import { expectBytes, f, near, quantise, range, productOf as scalarProduct, transformed } from "./scalar.ts";

/* The draft heads' functions of the kernel beside their definitions in scalar code. */

const ROWS = 5;

let memory: KernelMemory;
let random: Random;
beforeEach(async () => {
  memory = await KernelMemory.of(SHAPE);
  random = new Random(17);
});

const productOf = (columns: number, starts: readonly number[], times = 1) =>
  scalarProduct(memory, random, ROWS, columns, starts, times);

const normalised = (row: readonly number[]) => {
  const size = Math.sqrt(row.reduce((total, value) => total + value * value, 0) / row.length + 1e-5);
  return row.map((value) => value / size);
};

test("features: a session's streams and its bonus token's embedding, each of one size, in bytes", () => {
  const { width } = SHAPE;
  const sessions = 4;
  const rows = [2, 0, 4, 2];
  const bonus = [7, 1, 0, 8];
  const streams = range(3).map(() => memory.floats(ROWS * width, () => random.unit() * 9 - 4));
  const finals = memory.floats(sessions, () => random.unit() + 0.1);
  const table = Int8Array.from({ length: 9 * width }, () => random.int(-127, 127));
  const stored = memory.bytes(9 * width);
  stored.set(new Uint8Array(table.buffer));
  const scales = memory.floats(9, () => random.unit() / 1000);
  const [scratch, bytes] = [memory.floats(4 * width), memory.bytes(sessions * 4 * width)];
  const byteScales = memory.floats(sessions);
  const inputs = [memory.ints(rows).byteOffset, memory.ints(streams.map(({ byteOffset }) => byteOffset)).byteOffset, 3];
  const more = [finals, memory.ints(bonus), stored, scales, scratch, bytes, byteScales].map((a) => a.byteOffset);
  memory.kernel.features(1, sessions, ...(inputs as [number, number, number]), ...(more as Seven));
  expect([...bytes.subarray(0, 4 * width), byteScales[0]]).toEqual(new Array<number>(4 * width + 1).fill(0));
  for (let s = 1; s < sessions; s++) {
    const stream = (i: number) => [...streams[i]!.subarray(rows[s]! * width, (rows[s]! + 1) * width)];
    const embedded = range(width).map((i) => table[bonus[s]! * width + i]! * scales[bonus[s]!]!);
    const final = stream(2).map((value) => value * finals[s]!);
    const expected = [...normalised(stream(0)), ...normalised(stream(1)), ...final, ...normalised(embedded)];
    const { values, step } = quantise(expected);
    near(byteScales[s]!, step, 1e-5);
    expectBytes(bytes.subarray(s * 4 * width, (s + 1) * 4 * width), values);
  }
});

type Seven = [number, number, number, number, number, number, number];

describe.each([[[0]], [[0, 8, 8, 24]], [[0, 48, 96]]])("with columns of draft heads in shards from %j on", (starts) => {
  test("activate: silu of a product, rows of floats over it, and it under signs and transform, in bytes", () => {
    const [columns, block, rows] = [192, 64, 6];
    const { at, addresses } = productOf(columns, starts);
    const signs = memory.floats(columns, () => random.pick([1, -1]));
    const weights = memory.floats(rows * columns, () => random.unit() - 0.5);
    const products = memory.floats(ROWS * rows);
    const [scratch, bytes, byteScales] = [memory.floats(columns), memory.bytes(ROWS * columns), memory.floats(ROWS)];
    const out = [scratch, bytes, byteScales].map((array) => array.byteOffset) as [number, number, number];
    const run = (to: number) =>
      memory.kernel.activate(
        0,
        ROWS,
        ROWS,
        ...addresses,
        columns,
        block,
        signs.byteOffset,
        rows,
        weights.byteOffset,
        to,
        ...out,
      );
    run(products.byteOffset);
    for (let row = 0; row < ROWS; row++) {
      const u = range(columns).map((n) => at(row, n) / (1 + Math.exp(-at(row, n))));
      for (let j = 0; j < rows; j++) {
        const product = u.reduce((sum, value, n) => sum + value * weights[j * columns + n]!, 0);
        expect(Math.abs(products[row * rows + j]! - product)).toBeLessThan(1e-3 * Math.max(...u.map(Math.abs)));
      }
      const { values, step } = quantise(
        transformed(
          u.map((value, n) => value * signs[n]!),
          block,
        ),
      );
      near(byteScales[row]!, step, 1e-5);
      expectBytes(bytes.subarray(row * columns, (row + 1) * columns), values);
    }
    const before = [...bytes, ...byteScales, ...products];
    run(0);
    expect([...bytes, ...byteScales, ...products]).toEqual(before);
  });

  test("states: a session's final state plus each head's product and bias, in bytes", () => {
    const { width } = SHAPE;
    const heads = 3;
    const rows = [4, 0, 0, 3, 1];
    const { at, addresses } = productOf(heads * width, starts);
    const bias = memory.floats(heads * width, () => random.unit() - 0.5);
    const x = memory.floats(ROWS * width, () => random.unit() * 40 - 20);
    const inverses = memory.floats(ROWS, () => random.unit());
    const [scratch, bytes] = [memory.floats(width), memory.bytes(ROWS * heads * width)];
    const byteScales = memory.floats(ROWS * heads);
    const places = [bias, memory.ints(rows), x, inverses, scratch, bytes, byteScales].map((a) => a.byteOffset) as Seven;
    memory.kernel.states(2, ROWS * heads, ROWS, ...addresses, heads, ...places);
    expect([...byteScales.subarray(0, 2)]).toEqual([0, 0]);
    for (let state = 2; state < ROWS * heads; state++) {
      const [s, j] = [Math.floor(state / heads), state % heads];
      const { values, step } = quantise(
        range(width).map((i) => {
          const update = f(at(s, j * width + i) + bias[j * width + i]!);
          return f(f(x[rows[s]! * width + i]! * inverses[s]!) + update);
        }),
      );
      expect(byteScales[state]).toBe(step);
      expect([...bytes.subarray(state * width, (state + 1) * width)]).toEqual(values.map((value) => value + 128));
    }
  });

  test("likeliest: the largest columns in order, and what all columns weigh beside the first", () => {
    const [columns, k] = [200, 7];
    const { at, addresses } = productOf(columns, starts);
    const best = memory.ints(new Array<number>(ROWS * k).fill(-1));
    const [scratch, logits, masses] = [memory.floats(columns), memory.floats(ROWS * k), memory.floats(ROWS)];
    const out = [scratch, best, logits, masses].map((array) => array.byteOffset) as [number, number, number, number];
    const [sums, shards, ...rest] = addresses;
    memory.kernel.likeliest(0, ROWS, ROWS, sums, shards, columns, ...rest, k, ...out);
    for (let row = 0; row < ROWS; row++) {
      const all = range(columns).map((n) => at(row, n));
      const order = range(columns).sort((a, b) => all[b]! - all[a]! || a - b);
      expect([...best.subarray(row * k, (row + 1) * k)]).toEqual(order.slice(0, k));
      expect([...logits.subarray(row * k, (row + 1) * k)]).toEqual(order.slice(0, k).map((n) => all[n]));
      const mass = all.reduce((sum, value) => sum + Math.exp(value - all[order[0]!]!), 0);
      near(masses[row]!, mass, 1e-5);
    }
  });
});

test("of columns that are equally likely the lowest come first", () => {
  const [columns, k] = [40, 6];
  for (let round = 0; round < 50; round++) {
    const values = range(columns).map(() => random.int(0, 4));
    const [zeros, ones] = [memory.ints(new Array<number>(columns).fill(0)), memory.floats(columns, () => 1)];
    const best = memory.ints(new Array<number>(k).fill(-1));
    const out = [memory.floats(columns), best, memory.floats(k), memory.floats(1)].map((array) => array.byteOffset);
    const [sums, shards] = [memory.ints(values).byteOffset, memory.ints([0, 16, columns]).byteOffset];
    const places = [zeros, ones, ones].map((array) => array.byteOffset) as [number, number, number];
    const results = out as [number, number, number, number];
    memory.kernel.likeliest(0, 1, 1, sums, shards, columns, ...places, k, ...results);
    const order = range(columns).sort((a, b) => values[b]! - values[a]! || a - b);
    expect([...best]).toEqual(order.slice(0, k));
  }
});
