import { beforeAll, describe, expect, test } from "vitest";
import { shardStarts } from "../../../gpu-worker/integer/layout.ts";
import { Product, productsSaturate } from "../../../gpu-worker/integer/product.ts";
import { ensureBundle } from "../../../models/bundle.ts";
import { Random } from "../../helpers/random.ts";
import { NaiveInteger } from "./naive-integer.ts";

/** The matrix products of the integer model are exact: sums of products of bytes, whoever computes which columns. */

let naive: NaiveInteger;
let exactly: boolean;
beforeAll(async () => {
  naive = await NaiveInteger.read(await ensureBundle("tiny"));
  exactly = await productsSaturate();
});

/** The columns [from, to) of a matrix times rows of bytes, one product at a time. */
function definition(x: Uint8Array, rows: number, K: number, N: number, values: Int8Array, from: number, to: number) {
  const sums = new Int32Array(rows * (to - from));
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < K; k++) {
      const factor = x[row * K + k]!;
      for (let n = from; n < to; n++) sums[row * (to - from) + n - from]! += factor * values[k * N + n]!;
    }
  }
  return sums;
}

describe.each(["blocks.0.qkv", "blocks.1.attention_out", "blocks.2.gate_up", "blocks.3.down", "output"])(
  "%s",
  (name) => {
    test.each([
      [1, 1],
      [2, 3],
      [7, 2],
    ])("of %i rows, its columns among %i", async (rows, members) => {
      const random = new Random(rows);
      const { K, N, values } = naive.matrix(name);
      const starts = shardStarts(N, members);
      for (let member = 0; member < members; member++) {
        const [from, to] = [starts[member]!, starts[member + 1]!];
        const columns = to - from;
        const part = new Int8Array(K * columns);
        for (let k = 0; k < K; k++) part.set(values.subarray(k * N + from, k * N + to), k * columns);
        const memory = new SharedArrayBuffer(rows * K + 8 + rows * columns * 4 + 8);
        const x = new Uint8Array(memory, 0, rows * K);
        for (let i = 0; i < x.length; i++) x[i] = random.chance(0.2) ? random.pick([0, 255]) : random.int(0, 255);
        const sumsAt = Math.ceil((rows * K) / 4) * 4;
        const product = await Product.of({ K, N: columns, values: part }, memory, exactly);
        await product.run(rows, 0, sumsAt);
        await product.release();
        const sums = new Int32Array(memory, sumsAt, rows * columns);
        expect(Int32Array.from(sums)).toEqual(definition(x, rows, K, N, values, from, to));
      }
    });
  },
);

test("the largest sums there are come out whole", async () => {
  const [K, N] = [1536, 8];
  for (const weight of [127, -127]) {
    const memory = new SharedArrayBuffer(K + N * 4);
    new Uint8Array(memory, 0, K).fill(255);
    const product = await Product.of({ K, N, values: new Int8Array(K * N).fill(weight) }, memory, exactly);
    await product.run(1, 0, K);
    await product.release();
    expect([...new Int32Array(memory, K, N)]).toEqual(new Array<number>(N).fill(255 * weight * K));
  }
});
