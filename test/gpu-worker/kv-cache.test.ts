import { expect, test } from "vitest";
import { capacityFor, KvBudget, KvCache } from "../../gpu-worker/kv-cache.ts";
import { Random } from "../helpers/random.ts";

const SHAPE = { layers: 3, kvHeads: 2, headDim: 4, wideValues: false };

/** new_kv of rows whose content tells layer, part, head and row apart. */
function newKv(total: number, mark: number): Float32Array {
  const { layers, kvHeads, headDim } = SHAPE;
  return Float32Array.from({ length: layers * 2 * kvHeads * total * headDim }, (_, i) => {
    const row = Math.floor(i / headDim) % total;
    const place = Math.floor(i / headDim / total);
    return mark + row + place * 1e5 + (i % headDim) * 1e4;
  });
}

/** The cache's rows in order, as the marks they were made with; checks every layer, part and head. */
function marks(cache: KvCache): number[] {
  const { kvHeads, headDim } = SHAPE;
  const { capacity, keys, values } = cache.buffers;
  return Array.from({ length: cache.length }, (_, column) => {
    const found = new Set<number>();
    for (const [layer, parts] of keys.map((k, i) => [k, values[i]!]).entries()) {
      for (const [part, data] of parts.entries()) {
        for (let head = 0; head < kvHeads; head++) {
          for (let i = 0; i < headDim; i++) {
            const value = data[(head * capacity + column) * headDim + i]!;
            found.add(value - ((layer * 2 + part) * kvHeads + head) * 1e5 - i * 1e4);
          }
        }
      }
    }
    expect(found.size).toBe(1);
    return [...found][0]!;
  });
}

test.each([false, true])("keeps the rows appended, in order, through every growth (wide values: %s)", (wideValues) => {
  const random = new Random(1);
  const cache = new KvCache({ ...SHAPE, wideValues }, new KvBudget(1e9));
  const expected: number[] = [];
  for (let round = 0; expected.length < 700; round++) {
    const total = random.int(1, 40);
    const rows = Array.from({ length: total }, (_, i) => i).filter(() => random.chance(0.6));
    const mark = (round % 50) * 64;
    cache.append(newKv(total, mark), total, rows);
    expected.push(...rows.map((row) => mark + row));
    if (round % 7 === 0) expect(marks(cache)).toEqual(expected);
  }
  expect(marks(cache)).toEqual(expected);
  expect(cache.buffers.capacity).toBe(capacityFor(expected.length));
});

test("the capacity holds the length, is never 0 and at most half again as large from 128 on", () => {
  expect(capacityFor(0)).toBeGreaterThan(0);
  for (let length = 1; length <= 8192; length++) {
    const capacity = capacityFor(length);
    expect(capacity).toBeGreaterThanOrEqual(length);
    expect(capacity).toBeGreaterThanOrEqual(capacityFor(length - 1));
    if (length >= 128) expect(capacity).toBeLessThanOrEqual(length * 1.5);
  }
});

test("unused columns are finite", () => {
  const cache = new KvCache(SHAPE, new KvBudget(1e9));
  expect(cache.buffers.keys.every((data) => data.every((value) => value === 0))).toBe(true);
});

test("the budget counts what is held; beyond it a cache cannot grow and stays as it was", () => {
  const budget = new KvBudget(3 * 64 * 2 * 2 * 4 * 3 * 4);
  const cache = new KvCache(SHAPE, budget);
  const one = budget.usedBytes;
  cache.append(newKv(64, 0), 64, [...Array(64).keys()]);
  cache.append(newKv(1, 64), 1, [0]);
  expect(budget.usedBytes).toBe(2 * one);
  const other = new KvCache(SHAPE, budget);
  expect(() => new KvCache(SHAPE, budget)).toThrow(expect.objectContaining({ code: "overloaded" }));
  expect(budget.usedBytes).toBe(3 * one);
  cache.append(newKv(63, 65), 63, [...Array(63).keys()]);
  expect(() => cache.append(newKv(1, 0), 1, [0])).toThrow(expect.objectContaining({ code: "overloaded" }));
  expect(marks(cache)).toEqual([...Array(128).keys()]);
  other.release();
  cache.release();
  expect(budget.usedBytes).toBe(0);
});
