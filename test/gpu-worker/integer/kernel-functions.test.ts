import { beforeEach, describe, expect, test } from "vitest";
import { Random } from "../../helpers/random.ts";
import { KernelMemory, type KernelShape, PAGE } from "./kernel-memory.ts";

/*
 * Every function of the kernel beside its definition in scalar code. Integers, and floats that are products and sums in
 * a given order, to the last bit; what follows from an exponential, a sum of squares or a transform within a tolerance.
 */

const SHAPE: KernelShape = {
  width: 40,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  ffn: 192,
  layers: 2,
  pages: 50,
  context: 800,
  headBlock: 16,
  ffnBlock: 64,
};
const ROWS = 5;
const f = Math.fround;

let memory: KernelMemory;
let random: Random;
beforeEach(async () => {
  memory = await KernelMemory.of(SHAPE);
  random = new Random(17);
});

/** The sums of a product of bytes, in shards as the threads leave them, and what they stand for. */
function productOf(columns: number, starts: readonly number[], times = 1) {
  const sums = memory.ints({ length: ROWS * columns * times });
  const offsets = memory.ints(Array.from({ length: columns * times }, () => random.int(-50_000, 50_000)));
  const columnScales = memory.floats(columns * times, () => random.unit() / 1000);
  const scales = memory.floats(ROWS, () => random.unit() + 0.1);
  for (let i = 0; i < sums.length; i++) sums[i] = random.int(-400_000, 400_000);
  /** Of column n of the whole matrix, which is `times` parts of `columns` columns. */
  const at = (row: number, n: number) => {
    const [part, c] = [Math.floor(n / columns), n % columns];
    const s = starts.findLastIndex((start) => start <= c);
    const [from, to] = [starts[s]!, starts[s + 1] ?? columns];
    const place = ROWS * from * times + (row * times + part) * (to - from) + (c - from);
    return f(f(f(sums[place]! - offsets[n]!) * columnScales[n]!) * scales[row]!);
  };
  const shards = memory.ints([...starts, columns]);
  const addresses = [sums, shards, offsets, columnScales, scales].map(({ byteOffset }) => byteOffset);
  return { at, addresses: addresses as [number, number, number, number, number] };
}

/** The nearest integer, ties to even. */
function nearest(value: number): number {
  const low = Math.floor(value);
  // No negative zero.
  return (value - low === 0.5 ? low + (low & 1) : Math.round(value)) + 0;
}

/** Floats as -127..127, and what one step is worth. */
function quantise(row: readonly number[]) {
  const most = Math.max(...row.map(Math.abs));
  return { values: row.map((value) => nearest(f(value * f(127 / most)))), step: f(most / 127) };
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
const near = (actual: number, expected: number, tolerance: number) =>
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(tolerance * Math.abs(expected));

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
    kernel.addAndNormalise(0, ROWS, ROWS, ...addresses, x.byteOffset, bytes.byteOffset, byteScales.byteOffset);
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
    memory.kernel.gate(0, ROWS, ROWS, ...addresses, ...places);
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
    memory.kernel.logits(0, ROWS, ROWS, sums, shards, columns, ...rest, best.byteOffset, floats.byteOffset);
    for (let row = 0; row < ROWS; row++) {
      const expected = range(columns).map((n) => at(row, n));
      expect([...floats.subarray(row * columns, (row + 1) * columns)]).toEqual(expected);
      expect(best[row]).toBe(expected.indexOf(Math.max(...expected)));
    }
    const again = memory.ints(new Array<number>(ROWS).fill(-1));
    memory.kernel.logits(0, ROWS, ROWS, sums, shards, columns, ...rest, again.byteOffset, 0);
    expect([...again]).toEqual([...best]);
  });
});

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
  test("activate: silu of a product, gates over it, and it under signs and transform, in bytes", () => {
    const [columns, block, heads] = [192, 64, 3];
    const { at, addresses } = productOf(columns, starts);
    const signs = memory.floats(columns, () => random.pick([1, -1]));
    const weights = memory.floats(heads * columns, () => random.unit() - 0.5);
    const gates = memory.floats(ROWS * heads);
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
        heads,
        weights.byteOffset,
        to,
        ...out,
      );
    run(gates.byteOffset);
    for (let row = 0; row < ROWS; row++) {
      const u = range(columns).map((n) => at(row, n) / (1 + Math.exp(-at(row, n))));
      for (let j = 0; j < heads; j++) {
        const gate = u.reduce((sum, value, n) => sum + value * weights[j * columns + n]!, 0);
        expect(Math.abs(gates[row * heads + j]! - gate)).toBeLessThan(1e-3 * Math.max(...u.map(Math.abs)));
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
    const before = [...bytes, ...byteScales, ...gates];
    run(0);
    expect([...bytes, ...byteScales, ...gates]).toEqual(before);
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

test("addAndNormalise without a product normalises, without bytes adds", () => {
  const { width } = SHAPE;
  const x = memory.floats(ROWS * width, () => random.unit() - 0.5);
  const before = [...x];
  const bytes = memory.bytes(ROWS * width);
  const byteScales = memory.floats(ROWS);
  const { kernel } = memory;
  kernel.addAndNormalise(0, ROWS, ROWS, 0, 0, 0, 0, 0, x.byteOffset, bytes.byteOffset, byteScales.byteOffset);
  expect([...x]).toEqual(before);
  const { values } = quantise(before.slice(0, width));
  expect([...bytes.subarray(0, width)]).toEqual(values.map((value) => value + 128));
  const { at, addresses } = productOf(width, [0]);
  kernel.addAndNormalise(0, ROWS, ROWS, ...addresses, x.byteOffset, 0, 0);
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
    memory.kernel.logits(0, 1, 1, sums.byteOffset, shards.byteOffset, columns, ...places, 0);
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
  memory.kernel.splitHeads(0, ROWS, ROWS, 1, sums, shards, offsets, columnScales, scales, ...places, 0.25, ...out);
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

/** Each block of `size` times the Walsh-Hadamard matrix. */
function transformed(row: readonly number[], size: number): number[] {
  let signs = [[1]];
  while (signs.length < size) {
    signs = [...signs.map((s) => [...s, ...s]), ...signs.map((s) => [...s, ...s.map((sign) => -sign)])];
  }
  return row.map((_, at) => {
    const block = at - (at % size);
    return signs[at % size]!.reduce((sum, sign, j) => sum + sign * row[block + j]!, 0);
  });
}

/** Equal but for single steps where the value lies in the middle between two. */
function expectWords(actual: ArrayLike<number>, expected: readonly number[]): void {
  const off = expected.map((value, i) => Math.abs(actual[i]! - value));
  expect(Math.max(...off)).toBeLessThanOrEqual(1);
  expect(off.filter((one) => one > 0).length).toBeLessThanOrEqual(Math.ceil(expected.length / 100));
}

function expectBytes(actual: Uint8Array, expected: readonly number[]): void {
  expectWords(
    Array.from(actual, (byte) => byte - 128),
    expected,
  );
}
