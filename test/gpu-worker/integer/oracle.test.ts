import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Model } from "../../../gpu-worker/model.ts";
import { ensureBundle } from "../../../models/bundle.ts";
import { Random } from "../../helpers/random.ts";
import { loadTiny, randomText, readAlone, Tables } from "../texts.ts";
import { NaiveInteger } from "./naive-integer.ts";

let naive: NaiveInteger;
let model: Model;
beforeAll(async () => {
  naive = await NaiveInteger.read(await ensureBundle("tiny"));
  model = await loadTiny(2);
});
afterAll(() => model.release());

async function both(text: readonly number[], random: Random) {
  const expected = naive.logits(text);
  const said = await readAlone(model, text, new Tables(model, random).take(text.length));
  return expected.map((row, i) => ({ expected: row, actual: said[i]!.logits!, argmax: said[i]!.argmax }));
}

const differences = (actual: Float32Array, expected: readonly number[]) =>
  expected.map((value, i) => Math.abs(value - actual[i]!));

test("the weights' offsets are what 128 in every row adds to a column", () => {
  for (const name of naive.matrices) {
    const { K, N, values, offsets } = naive.matrix(name);
    const sums = new Int32Array(N);
    for (let k = 0; k < K; k++) for (let n = 0; n < N; n++) sums[n]! += 128 * values[k * N + n]!;
    expect(offsets, name).toEqual(sums);
  }
  expect(naive.matrices).toHaveLength(4 * 4 + 1);
});

describe("the integer model has the logits of the same in plain scalar code", () => {
  test("to float32 after one token, where all that is rounded is rounded alike", async () => {
    const random = new Random(5);
    const worst: number[] = [];
    for (let i = 0; i < 40; i++) {
      const [row] = await both(randomText(random, 1), random);
      worst.push(Math.max(...differences(row!.actual, row!.expected)));
    }
    // Once in a while a value lies so near to the middle of two bytes that float32 decides.
    expect(worst.filter((difference) => difference < 2e-5).length).toBeGreaterThan(36);
    expect(Math.max(...worst)).toBeLessThan(0.3);
  });

  test("but for bytes and weights that fall to the other side, after a text", async () => {
    const random = new Random(6);
    const rows = await both(randomText(random, 140), random);
    let squares = 0;
    let divergence = 0;
    for (const { actual, expected, argmax } of rows) {
      const all = differences(actual, expected);
      squares += all.reduce((sum, value) => sum + value * value, 0) / all.length / rows.length;
      divergence += klDivergence(expected, actual) / rows.length;
      expect(Math.max(...all)).toBeLessThan(0.6);
      const [best, second] = expected.toSorted((a, b) => b - a);
      if (best! - second! > 0.6) expect(argmax).toBe(expected.indexOf(best!));
    }
    expect(Math.sqrt(squares)).toBeLessThan(0.05);
    expect(divergence).toBeLessThan(5e-4);
  });
});

/** Of the distribution of the logits `q` from that of `p`, in nats. */
function klDivergence(p: ArrayLike<number>, q: ArrayLike<number>): number {
  const [logP, logQ] = [logSoftmax(p), logSoftmax(q)];
  return logP.reduce((sum, value, i) => sum + Math.exp(value) * (value - logQ[i]!), 0);
}

function logSoftmax(logits: ArrayLike<number>): number[] {
  const most = Math.max(...Array.from(logits));
  const mass = Array.from(logits).reduce((sum, value) => sum + Math.exp(value - most), 0);
  return Array.from(logits, (value) => value - most - Math.log(mass));
}
