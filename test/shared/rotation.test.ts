import { describe, expect, test } from "vitest";
import { hadamard, powerOfTwoIn, Rotation, randomSign } from "../../shared/rotation.ts";
import { Random } from "../helpers/random.ts";

const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/** The unit vectors in the new basis: row i is what coordinate i becomes. */
function basisOf(size: number): Float64Array[] {
  const rotation = new Rotation(size);
  return Array.from({ length: size }, (_, i) => {
    const unit = new Float64Array(size);
    unit[i] = 1;
    rotation.apply(unit);
    return unit;
  });
}

describe.each([1, 2, 8, 12, 40, 64, 96, 576])("a rotation of %i coordinates", (size) => {
  test("keeps lengths and angles", () => {
    const basis = basisOf(size);
    for (let i = 0; i < size; i += Math.ceil(size / 16)) {
      for (const [j, other] of basis.entries()) expect(dot(basis[i]!, other)).toBeCloseTo(i === j ? 1 : 0, 10);
    }
  });

  test("leads back to where it came from, vector by vector", () => {
    const random = new Random(size);
    const rotation = new Rotation(size);
    const before = Float64Array.from({ length: 3 * size }, () => random.unit() - 0.5);
    const values = Float64Array.from(before);
    rotation.apply(values);
    const second = before.slice(size, 2 * size);
    rotation.apply(second);
    expect(values.slice(size, 2 * size)).toEqual(second);
    rotation.restore(values);
    for (const [i, value] of values.entries()) expect(value).toBeCloseTo(before[i]!, 10);
  });
});

test("what is large in one coordinate is spread over all of them", () => {
  for (const vector of basisOf(64)) {
    for (const value of vector) expect(Math.abs(value)).toBeCloseTo(1 / 8, 10);
  }
  // Where the size is no power of two, within a cosine of it.
  for (const vector of basisOf(96)) {
    for (const value of vector) expect(Math.abs(value)).toBeLessThan(Math.SQRT2 / Math.sqrt(96) + 1e-9);
  }
});

test("whole vectors alone are rotated", () => {
  expect(() => new Rotation(8).apply(new Float32Array(12))).toThrow("whole vectors");
  expect(() => new Rotation(8).restore(new Float32Array(12))).toThrow("whole vectors");
});

test("hadamard is the product with the matrix of signs, also over coordinates that lie apart", () => {
  const sign = (i: number, j: number) => ((i & j).toString(2).replaceAll("0", "").length % 2 === 0 ? 1 : -1);
  for (const stride of [1, 3]) {
    const values = Float64Array.from({ length: 8 * stride }, (_, i) => i * i - 7 * i);
    const expected = values.map((_, at) => {
      const [i, lane] = [Math.floor(at / stride), at % stride];
      return Array.from({ length: 8 }, (__, j) => sign(i, j) * values[j * stride + lane]!).reduce((a, b) => a + b);
    });
    hadamard(values, 8, stride);
    expect([...values]).toEqual([...expected]);
  }
});

test("the largest power of two in a number, up to a limit", () => {
  expect([1, 2, 96, 384, 576, 7].map((size) => powerOfTwoIn(size))).toEqual([1, 2, 32, 128, 64, 1]);
  expect([384, 576, 48].map((size) => powerOfTwoIn(size, 64))).toEqual([64, 64, 16]);
});

test("signs are the same for ever: compiled weights hang on them", () => {
  const signs = Array.from({ length: 48 }, (_, i) => (randomSign(i) > 0 ? "+" : "-")).join("");
  expect(signs).toBe("----+-++--+-+-++-+--+---+-+---+-++-+-++---+-++--");
  const sum = Array.from({ length: 4096 }, (_, i) => randomSign(i)).reduce<number>((a, b) => a + b, 0);
  expect(Math.abs(sum)).toBeLessThan(300);
});
