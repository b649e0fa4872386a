import { expect } from "vitest";
import type { Random } from "../../helpers/random.ts";
import type { KernelMemory } from "./kernel-memory.ts";

/* What the kernel's functions are held to: their definitions in scalar code. */

export const f = Math.fround;

/** The sums of a product of bytes, in shards as the threads leave them, and what they stand for. */
export function productOf(
  memory: KernelMemory,
  random: Random,
  rows: number,
  columns: number,
  starts: readonly number[],
  times = 1,
) {
  const sums = memory.ints({ length: rows * columns * times });
  const offsets = memory.ints(Array.from({ length: columns * times }, () => random.int(-50_000, 50_000)));
  const columnScales = memory.floats(columns * times, () => random.unit() / 1000);
  const scales = memory.floats(rows, () => random.unit() + 0.1);
  for (let i = 0; i < sums.length; i++) sums[i] = random.int(-400_000, 400_000);
  /** Of column n of the whole matrix, which is `times` parts of `columns` columns. */
  const at = (row: number, n: number) => {
    const [part, c] = [Math.floor(n / columns), n % columns];
    const s = starts.findLastIndex((start) => start <= c);
    const [from, to] = [starts[s]!, starts[s + 1] ?? columns];
    const place = rows * from * times + (row * times + part) * (to - from) + (c - from);
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

/** Floats as -steps..steps, and what one step is worth. */
export function quantise(row: readonly number[], steps = 127) {
  const most = Math.max(...row.map(Math.abs));
  return { values: row.map((value) => nearest(f(value * f(steps / most)))), step: f(most / steps) };
}

export const range = (count: number) => Array.from({ length: count }, (_, i) => i);
export const near = (actual: number, expected: number, tolerance: number) =>
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(tolerance * Math.abs(expected));

/** Each block of `size` times the Walsh-Hadamard matrix. */
export function transformed(row: readonly number[], size: number): number[] {
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
export function expectWords(actual: ArrayLike<number>, expected: readonly number[]): void {
  const off = expected.map((value, i) => Math.abs(actual[i]! - value));
  expect(Math.max(...off)).toBeLessThanOrEqual(1);
  expect(off.filter((one) => one > 0).length).toBeLessThanOrEqual(Math.ceil(expected.length / 100));
}

export function expectBytes(actual: Uint8Array, expected: readonly number[]): void {
  expectWords(
    Array.from(actual, (byte) => byte - 128),
    expected,
  );
}
