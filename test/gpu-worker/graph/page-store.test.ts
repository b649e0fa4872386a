import { expect, test } from "vitest";
import { PageStore } from "../../../gpu-worker/graph/page-store.ts";
import { PAGE_TOKENS, type Segment } from "../../../gpu-worker/model.ts";
import { Random } from "../../helpers/random.ts";

const SHAPE = { layers: 3, kvHeads: 2, headDim: 4 };
const PAGE_BYTES = SHAPE.layers * 2 * SHAPE.kvHeads * PAGE_TOKENS * SHAPE.headDim * 4;

/** New rows of a pass, [layers, 2, kvHeads, rows, headDim], whose content tells layer, part, head and row apart. */
function rowsOf(marks: readonly number[]): Float32Array {
  const { layers, kvHeads, headDim } = SHAPE;
  return Float32Array.from({ length: layers * 2 * kvHeads * marks.length * headDim }, (_, i) => {
    const row = Math.floor(i / headDim) % marks.length;
    const place = Math.floor(i / headDim / marks.length);
    return marks[row]! + place * 1e5 + (i % headDim) * 1e4;
  });
}

/** The past as the marks its rows were made with; checks every layer, part and head, and that zeros follow. */
function marksOf(past: readonly Float32Array[], length: number, capacity: number): number[] {
  const { layers, kvHeads, headDim } = SHAPE;
  expect(past).toHaveLength(layers * 2);
  for (const data of past) {
    expect(data).toHaveLength(kvHeads * capacity * headDim);
    for (let head = 0; head < kvHeads; head++) {
      const rest = data.subarray((head * capacity + length) * headDim, (head + 1) * capacity * headDim);
      expect(rest.every((value) => value === 0)).toBe(true);
    }
  }
  return Array.from({ length }, (_, column) => {
    const found = new Set<number>();
    for (const [part, data] of past.entries()) {
      for (let head = 0; head < kvHeads; head++) {
        for (let i = 0; i < headDim; i++) {
          const value = data[(head * capacity + column) * headDim + i]!;
          found.add(value - (part * kvHeads + head) * 1e5 - i * 1e4);
        }
      }
    }
    expect(found.size).toBe(1);
    return [...found][0]!;
  });
}

/** `count` rows after the first `length` tokens of a session. */
function segmentOf(pages: Int32Array, length: number, count: number): Segment {
  return { pages, length, tokens: new Uint32Array(count), parents: null, wanted: "all", logits: false };
}

test("each session finds the rows it kept, in order, whatever the others do on their pages", () => {
  const random = new Random(1);
  const store = new PageStore(SHAPE, 40 * PAGE_BYTES);
  expect(store.pages).toBe(40);
  // Every fourth page, from one end or the other.
  const sessions = [0, 1, 2, 3].map((first) => {
    const pages = Int32Array.from({ length: 10 }, (_, i) => first + 4 * (first % 2 === 0 ? i : 9 - i));
    return { pages, kept: [] as number[] };
  });
  for (let round = 0; sessions.some(({ kept }) => kept.length < 120); round++) {
    const { pages, kept } = random.pick(sessions);
    const room = pages.length * PAGE_TOKENS - kept.length;
    const marks = Array.from({ length: Math.min(room, random.int(1, 20)) }, (_, i) => (round % 50) * 32 + i);
    if (marks.length === 0) continue;
    store.put(segmentOf(pages, kept.length, marks.length), rowsOf(marks));
    // A path through them: each moves forward to the place of an earlier one.
    const path = [...marks.keys()].filter(() => random.chance(0.6));
    for (const [i, row] of path.entries()) if (row !== i) store.move(pages, kept.length + row, kept.length + i);
    kept.push(...path.map((row) => marks[row]!));
    for (const session of sessions) {
      const { length } = session.kept;
      const capacity = length + random.int(1, 9);
      const past = store.past(segmentOf(session.pages, length, 1), capacity);
      expect(marksOf(past, length, capacity)).toEqual(session.kept);
    }
  }
});

test("pages that two sessions share are read by both", () => {
  const store = new PageStore(SHAPE, 8 * PAGE_BYTES);
  const [one, other] = [Int32Array.of(5, 2, 7), Int32Array.of(5, 2, 0)];
  const marks = Array.from({ length: 2 * PAGE_TOKENS }, (_, i) => i);
  store.put(segmentOf(one, 0, marks.length), rowsOf(marks));
  store.put(segmentOf(one, marks.length, 1), rowsOf([100]));
  store.put(segmentOf(other, marks.length, 2), rowsOf([200, 201]));
  const read = (pages: Int32Array, length: number) => marksOf(store.past(segmentOf(pages, length, 1), 64), length, 64);
  expect(read(one, marks.length + 1)).toEqual([...marks, 100]);
  expect(read(other, marks.length + 2)).toEqual([...marks, 200, 201]);
});

test("it has as many pages as fit, and is refused where not one does", () => {
  expect(new PageStore(SHAPE, 3 * PAGE_BYTES - 1).pages).toBe(2);
  expect(() => new PageStore(SHAPE, PAGE_BYTES - 1)).toThrow(`a cache of ${PAGE_BYTES - 1} bytes holds no page`);
});
