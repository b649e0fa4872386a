import { beforeEach, describe, expect, test } from "vitest";
import { Rotation } from "../../../shared/rotation.ts";
import { Random } from "../../helpers/random.ts";
import { KernelMemory, SHAPE } from "./kernel-memory.ts";
import { expectBytes, expectWords, f, near, productOf, quantise, range, transformed } from "./scalar.ts";

/* What other models than Llama need of the kernel, beside its definition in scalar code. */

const ROWS = 5;

let memory: KernelMemory;
let random: Random;
beforeEach(async () => {
  memory = await KernelMemory.of(SHAPE);
  random = new Random(29);
});

const vector = (length: number, size = 1) => memory.floats(length, () => (random.unit() * 2 - 1) * size);
const rootMeanSquare = (row: readonly number[]) =>
  Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / row.length + memory.epsilon);

test("addAndNormalise adds a bias to the product", () => {
  const { width } = SHAPE;
  const { at, addresses } = productOf(memory, random, ROWS, width, [0, 16]);
  const bias = vector(width, 100);
  const x = memory.floats(ROWS * width);
  memory.kernel.addAndNormalise(0, ROWS, ROWS, ...addresses, bias.byteOffset, x.byteOffset, 0, 0);
  expect([...x]).toEqual(range(ROWS * width).map((i) => f(at(Math.floor(i / width), i % width) + bias[i % width]!)));
});

test.each([40, 48, 64])(
  "addNormalised: a norm of what is added, turned into the basis of a stream of %i",
  async (width) => {
    memory = await KernelMemory.of({ ...SHAPE, width });
    const { at, addresses } = productOf(memory, random, ROWS, width, [0, 8]);
    const [bias, weights] = [vector(width, 50), vector(width)];
    const rotation = new Rotation(width);
    const turn = memory.floats(rotation.signs.length + rotation.mix.length);
    turn.set([...rotation.signs, ...rotation.mix]);
    const before = [...vector(ROWS * width)];
    const x = memory.floats(before.length, (i) => before[i]!);
    const scratch = memory.floats(2 * width);
    const vectors = [bias, weights, turn].map(({ byteOffset }) => byteOffset) as [number, number, number];
    const { kernel } = memory;
    kernel.addNormalised(0, ROWS, ROWS, ...addresses, ...vectors, rotation.power, scratch.byteOffset, x.byteOffset);
    for (let row = 0; row < ROWS; row++) {
      const added = range(width).map((i) => at(row, i) + bias[i]!);
      const size = rootMeanSquare(added);
      const turned = Float64Array.from(added, (value, i) => (value / size) * weights[i]!);
      rotation.apply(turned);
      for (let i = 0; i < width; i++) expect(x[row * width + i]).toBeCloseTo(before[row * width + i]! + turned[i]!, 5);
    }
  },
);

test("gate: gelu, approximated by tanh, in place of silu", () => {
  const { ffn, ffnBlock } = SHAPE;
  const { at, addresses } = productOf(memory, random, ROWS, ffn, [0, 8], 2);
  const gelu = (x: number) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
  const [scratch, bytes, byteScales] = [memory.floats(ffn), memory.bytes(ROWS * ffn), memory.floats(ROWS)];
  const places = [scratch, bytes, byteScales].map(({ byteOffset }) => byteOffset) as [number, number, number];
  // Also where the exponential is neither nothing nor all.
  for (const scale of [1, 0.01]) {
    const [sums, starts, offsets, columnScales, scales] = addresses;
    const smaller = memory.floats(ROWS, (row) => new Float32Array(memory.angles.buffer, scales, ROWS)[row]! * scale);
    memory.kernel.gate(0, ROWS, ROWS, sums, starts, offsets, columnScales, smaller.byteOffset, 1, ...places);
    for (let row = 0; row < ROWS; row++) {
      const gated = range(ffn).map((i) => gelu(at(row, i) * scale) * at(row, ffn + i) * scale);
      const { values, step } = quantise(transformed(gated, ffnBlock));
      near(byteScales[row]!, step, 1e-5);
      expectBytes(bytes.subarray(row * ffn, (row + 1) * ffn), values);
    }
  }
});

test("logits of a limited size", () => {
  const [columns, cap] = [44, 30];
  const { at, addresses } = productOf(memory, random, ROWS, columns, [0, 8]);
  const best = memory.ints(new Array<number>(ROWS).fill(-1));
  const floats = memory.floats(ROWS * columns);
  const [sums, shards, ...rest] = addresses;
  memory.kernel.logits(0, ROWS, ROWS, sums, shards, columns, ...rest, best.byteOffset, floats.byteOffset, cap);
  for (let row = 0; row < ROWS; row++) {
    const said = [...floats.subarray(row * columns, (row + 1) * columns)];
    for (const [n, value] of said.entries())
      expect(Math.abs(value - cap * Math.tanh(at(row, n) / cap))).toBeLessThan(2e-4);
    expect(best[row]).toBe(said.indexOf(Math.max(...said)));
  }
});

describe.each([
  ["a bias", { bias: true, norms: false, rotated: true }],
  ["norms of queries and keys", { bias: false, norms: true, rotated: true }],
  ["no rotation", { bias: false, norms: false, rotated: false }],
  ["all of it", { bias: true, norms: true, rotated: false }],
])("splitHeads with %s", (_, has) => {
  test("is its definition", () => {
    const { heads, kvHeads, headDim, context, headBlock } = SHAPE;
    const half = headDim / 2;
    for (let i = 0; i < context * half; i++) {
      memory.angles[i] = Math.cos(i * 0.37);
      memory.angles[context * half + i] = Math.sin(i * 0.37);
    }
    const columns = (heads + 2 * kvHeads) * headDim;
    const { at, addresses } = productOf(memory, random, ROWS, columns, [0, 24]);
    const [bias, norms] = [vector(columns, 100), vector(2 * headDim)];
    const positions = [0, 799, 13, 14, 14];
    const scratch = memory.floats(columns + headDim);
    const queries = memory.words(ROWS * heads * headDim);
    const queryScales = memory.floats(ROWS * heads);
    const places = [memory.ints(positions).byteOffset, memory.ints(range(ROWS)).byteOffset] as const;
    const given = [has.bias ? bias : null, has.norms ? norms : null, has.rotated ? memory.angles : null];
    const traits = given.map((array) => array?.byteOffset ?? 0) as [number, number, number];
    const out = [scratch.byteOffset, queries.byteOffset, queryScales.byteOffset] as const;
    memory.kernel.splitHeads(0, ROWS, ROWS, 1, ...addresses, ...places, 0.25, ...traits, 0, 0, ...out);
    for (let row = 0; row < ROWS; row++) {
      const head = (index: number) =>
        range(headDim).map((d) => at(row, index * headDim + d) + (has.bias ? bias[index * headDim + d]! : 0));
      const placed = (index: number, weights: Float32Array) => {
        const plain = head(index);
        const size = rootMeanSquare(plain);
        const values = has.norms ? plain.map((value, d) => (value / size) * weights[d]!) : plain;
        const rotated = values.map((value, d) => {
          const angle = positions[row]! * half + (d % half);
          const other = d < half ? -values[d + half]! : values[d - half]!;
          return value * memory.angles[angle]! + other * memory.angles[context * half + angle]!;
        });
        return quantise(transformed(has.rotated ? rotated : values, headBlock));
      };
      for (let h = 0; h < heads; h++) {
        const { values, step } = placed(h, norms.subarray(0, headDim));
        const query = row * heads + h;
        expectWords(queries.subarray(query * headDim, (query + 1) * headDim), values);
        near(queryScales[query]!, step * 0.25, 1e-5);
      }
      for (let h = 0; h < kvHeads; h++) {
        const key = placed(heads + h, norms.subarray(headDim));
        const cached = memory.cache.key(1, h, row);
        expectWords(cached.values, key.values);
        near(cached.scale, key.step, 1e-5);
        const value = quantise(head(heads + kvHeads + h));
        expectWords(memory.cache.value(1, h, row).values, value.values);
      }
    }
  });
});

test("splitHeads with a bias of keys that is not cached: what it adds to a score, and finer queries", () => {
  const { heads, kvHeads, headDim, context, headBlock } = SHAPE;
  const half = headDim / 2;
  const turned = (head: readonly number[], position: number) =>
    head.map((value, d) => {
      const angle = position * 0.01 * (1 + (d % half));
      return value * Math.cos(angle) + (d < half ? -head[d + half]! : head[d - half]!) * Math.sin(angle);
    });
  for (let i = 0; i < context * half; i++) {
    const angle = Math.floor(i / half) * 0.01 * (1 + (i % half));
    memory.angles[i] = Math.cos(angle);
    memory.angles[context * half + i] = Math.sin(angle);
  }
  const columns = (heads + 2 * kvHeads) * headDim;
  const { at, addresses } = productOf(memory, random, ROWS, columns, [0, 24]);
  const keyBias = vector(kvHeads * headDim, 5000);
  const positions = [0, 799, 13, 14, 14];
  const queries = memory.words(ROWS * heads * headDim);
  const [queryScales, terms] = [memory.floats(ROWS * heads), memory.floats(ROWS * heads * headDim)];
  const scratch = memory.floats(columns + headDim);
  const places = [memory.ints(positions).byteOffset, memory.ints(range(ROWS)).byteOffset] as const;
  const traits = [0, 0, memory.angles.byteOffset, keyBias.byteOffset, terms.byteOffset] as const;
  const out = [scratch.byteOffset, queries.byteOffset, queryScales.byteOffset] as const;
  memory.kernel.splitHeads(0, ROWS, ROWS, 1, ...addresses, ...places, 0.25, ...traits, ...out);
  for (let row = 0; row < ROWS; row++) {
    const head = (index: number) => range(headDim).map((d) => at(row, index * headDim + d));
    for (let h = 0; h < kvHeads; h++) {
      const { values } = quantise(transformed(turned(head(heads + h), positions[row]!), headBlock));
      expectWords(memory.cache.key(1, h, row).values, values);
    }
    for (let h = 0; h < heads; h++) {
      const query = row * heads + h;
      const own = turned(head(h), positions[row]!);
      const fine = quantise(transformed(own, headBlock), 16383);
      const off = fine.values.map((value, d) => Math.abs(queries[query * headDim + d]! - value));
      expect(Math.max(...off)).toBeLessThanOrEqual(1);
      near(queryScales[query]!, fine.step * 0.25, 1e-5);
      const kvHead = Math.floor((h * kvHeads) / heads);
      const bias = [...keyBias.subarray(kvHead * headDim, (kvHead + 1) * headDim)];
      const size = Math.hypot(...own) * Math.hypot(...bias);
      for (const position of [0, 7, 640]) {
        const score = turned(bias, position).reduce((sum, value, d) => sum + value * own[d]!, 0);
        const [t, angle] = [terms.subarray(query * headDim, (query + 1) * headDim), position * half];
        const said = range(half).reduce((sum, i) => {
          const sine = memory.angles[context * half + angle + i]!;
          return sum + t[i]! * memory.angles[angle + i]! + t[half + i]! * sine;
        }, 0);
        // Both sides of the product of query and key are transformed, so its scale has the block's size in it.
        expect(Math.abs(said / (0.25 * headBlock) - score) / size).toBeLessThan(1e-5);
      }
    }
  }
});
