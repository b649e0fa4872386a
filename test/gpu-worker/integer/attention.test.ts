import { beforeAll, describe, expect, test } from "vitest";
import { Random } from "../../helpers/random.ts";
import { KernelMemory, PAGE, SHAPE } from "./kernel-memory.ts";

/** The kernel's attention beside its definition in float64, over a cache of random bytes. */

const { heads, kvHeads, headDim, layers, pages } = SHAPE;
const LAYER = 1;
const ROWS = 12;
const group = heads / kvHeads;
const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** A run of rows before one key/value head, as gpu-worker/integer/assembly/attention.ts describes it. */
interface Item {
  readonly row: number;
  readonly rows: number;
  readonly head: number;
  readonly visible: number;
  readonly total: number;
  /** Which of the slots from `visible` on each row sees. */
  readonly masks: readonly bigint[];
  /** The row whose slot is `visible`; left out: `row`. */
  readonly fresh?: number;
}

let memory: KernelMemory;
let table: Int32Array;
let queries: Int16Array;
let queryScales: Float32Array;
let attended: Float32Array;
/** Of a bias that the keys lack. */
let terms: Float32Array;
let scratch: Float32Array;

beforeAll(async () => {
  memory = await KernelMemory.of(SHAPE);
  const random = new Random(23);
  for (const layer of range(layers)) {
    for (const head of range(kvHeads)) {
      for (const slot of range(pages * PAGE)) memory.cache.put(layer, head, slot, random);
    }
  }
  table = memory.ints(range(pages).map((page) => (page * 7 + 3) % pages));
  queries = memory.words(ROWS * heads * headDim);
  for (let i = 0; i < queries.length; i++) queries[i] = random.int(-127, 127);
  queryScales = memory.floats(ROWS * heads, () => (random.unit() + 0.2) / 40);
  attended = memory.floats(ROWS * heads * headDim);
  terms = memory.floats(ROWS * heads * headDim, () => (random.unit() * 2 - 1) * 3);
  for (let i = 0; i < memory.angles.length / 2; i++) {
    memory.angles[i] = Math.cos(i * 0.37);
    memory.angles[memory.angles.length / 2 + i] = Math.sin(i * 0.37);
  }
  scratch = memory.floats(40_000);
});

/** What a row sees less, how large its scores come, and whether the keys lack a bias; nothing, any and no. */
const NO_LIMITS = { window: 0, positions: [] as readonly number[], cap: 0, biased: false };

function attend(items: readonly Item[], layer = LAYER, limits = NO_LIMITS): void {
  attended.fill(Number.NaN);
  const described = items.flatMap(({ row, rows, head, visible, total, masks, fresh = row }) => {
    return [row, rows, head, visible, total, table.byteOffset, memory.masks(masks).byteOffset, fresh];
  });
  const places = [memory.ints(described), queries, queryScales, attended, scratch].map(({ byteOffset }) => byteOffset);
  const { window, positions, cap, biased } = limits;
  const lacking = biased ? ([terms.byteOffset, memory.angles.byteOffset] as const) : ([0, 0] as const);
  const seen = [window, memory.ints(positions).byteOffset, 0, cap, ...lacking] as const;
  memory.kernel.attend(0, items.length, layer, ...(places as [number, number, number, number, number]), ...seen);
}

/** What the `i`-th row of an item reads for one query head of its group. */
function definition(
  { row, head, visible, total, masks, fresh = row }: Item,
  i: number,
  member: number,
  limits = NO_LIMITS,
): number[] {
  const query = (row + i) * heads + head * group + member;
  const tokens = range(total)
    .filter((token) => token < visible || ((masks[i]! >> BigInt(token - visible)) & 1n) === 1n)
    .filter((token) => limits.window === 0 || token > limits.positions[row + i]! - limits.window);
  const slots = tokens.map((token) => table[Math.floor(token / PAGE)]! * PAGE + (token % PAGE));
  const exponents = slots.map((slot, at) => {
    const key = memory.cache.key(LAYER, head, slot);
    const dot = key.values.reduce((sum, value, d) => sum + value * queries[query * headDim + d]!, 0);
    const token = tokens[at]!;
    const position = token < visible ? token : limits.positions[fresh + token - visible]!;
    const exponent = dot * key.scale * queryScales[query]! + (limits.biased ? lacking(query, position) : 0);
    return limits.cap === 0 ? exponent : limits.cap * Math.tanh(exponent / limits.cap);
  });
  const most = Math.max(...exponents);
  const shares = exponents.map((exponent) => (exponent - most > -30 ? 2 ** (exponent - most) : 0));
  const mass = shares.reduce((sum, share) => sum + share, 0);
  const out = new Array<number>(headDim).fill(0);
  for (const [at, slot] of slots.entries()) {
    const { values, scale } = memory.cache.value(LAYER, head, slot);
    for (let d = 0; d < headDim; d++) out[d]! += (values[d]! * scale * shares[at]!) / mass;
  }
  return out;
}

/** What the bias adds to a query's score with the key of a position. */
function lacking(query: number, position: number): number {
  const half = headDim / 2;
  return range(half).reduce((sum, i) => {
    const [cosine, sine] = [0, memory.angles.length / 2].map((from) => memory.angles[from + position * half + i]!);
    return sum + terms[query * headDim + i]! * cosine! + terms[query * headDim + half + i]! * sine!;
  }, 0);
}

/** Sixteen bits of weight, and an exponential that is off by three millionths. */
const TOLERANCE = 3e-4;

function expectDefinition(items: readonly Item[], limits = NO_LIMITS): void {
  for (const item of items) {
    for (const i of range(item.rows)) {
      for (const member of range(group)) {
        const expected = definition(item, i, member, limits);
        const query = (item.row + i) * heads + item.head * group + member;
        const actual = attended.subarray(query * headDim, (query + 1) * headDim);
        const scale = Math.max(...expected.map(Math.abs));
        for (const [d, value] of expected.entries())
          expect(Math.abs(actual[d]! - value) / scale).toBeLessThan(TOLERANCE);
      }
    }
  }
}

const chain = (rows: number) => range(rows).map((i) => (1n << BigInt(i + 1)) - 1n);

describe("a row reads what it sees", () => {
  test.each([
    [1, 0],
    [1, 1],
    [1, 15],
    [3, 13],
    [8, 40],
    [5, 500],
    // Beyond 512 tokens sums no longer fit 32 bits.
    [1, 512],
    [8, 600],
    [3, 770],
  ])("%i rows of a chain after %i tokens", (rows, visible) => {
    const items = range(kvHeads).map((head): Item => {
      return { row: 2, rows, head, visible, total: visible + rows, masks: chain(rows) };
    });
    attend(items);
    expectDefinition(items);
    // The rows before and after are somebody else's.
    expect(attended.subarray(0, 2 * heads * headDim).every(Number.isNaN)).toBe(true);
    expect(attended.subarray((2 + rows) * heads * headDim).every(Number.isNaN)).toBe(true);
  });

  test("rows of a tree, the last of them at the end of a mask", () => {
    const random = new Random(3);
    const masks = range(8).map((i) => {
      let mask = 1n << BigInt(56 + i);
      for (let bit = 0; bit < 56 + i; bit++) if (random.chance(0.5)) mask |= 1n << BigInt(bit);
      return mask;
    });
    const items = [20, 710].flatMap((visible) =>
      range(kvHeads).map((head): Item => ({ row: 0, rows: 8, head, visible, total: visible + 64, masks })),
    );
    for (const item of items) {
      attend([item]);
      expectDefinition([item]);
    }
  });

  test.each([
    [1, 0, 5],
    [8, 40, 1],
    [8, 40, 16],
    [8, 600, 17],
    [8, 700, 600],
    [5, 9, 100],
  ])("%i rows of a chain after %i tokens, through a window of %i", (rows, visible, window) => {
    const limits = { ...NO_LIMITS, window, positions: range(ROWS).map((row) => visible + row - 2) };
    const items = range(kvHeads).map((head): Item => {
      return { row: 2, rows, head, visible, total: visible + rows, masks: chain(rows) };
    });
    attend(items, LAYER, limits);
    expectDefinition(items, limits);
  });

  test("with scores of a limited size", () => {
    const limits = { ...NO_LIMITS, cap: 4 };
    const items = [30, 600].map((visible): Item => {
      return { row: 2, rows: 8, head: 1, visible, total: visible + 8, masks: chain(8) };
    });
    for (const item of items) {
      attend([item], LAYER, limits);
      expectDefinition([item], limits);
    }
  });

  test.each([0, 20])("with keys that lack their bias, through a window of %i", (window) => {
    const limits = { ...NO_LIMITS, window, biased: true };
    for (const visible of [3, 90, 600]) {
      const positions = range(ROWS).map((row) => visible + row - 2);
      const item: Item = { row: 2, rows: 8, head: 1, visible, total: visible + 8, masks: chain(8) };
      attend([item], LAYER, { ...limits, positions });
      expectDefinition([item], { ...limits, positions });
    }
  });

  test("rows of a tree with keys that lack their bias: their positions are not their slots", () => {
    // Row 1 is the tree's first; its second run of rows is asked for.
    const positions = [0, 40, 41, 42, 41, 42, 43, 42, 43, 44, 41, 42];
    const masks = range(5).map((i) => (1n << BigInt(i + 6)) | 0b10101n);
    const item: Item = { row: 7, rows: 5, head: 0, visible: 40, total: 51, masks, fresh: 1 };
    const limits = { ...NO_LIMITS, positions, biased: true };
    attend([item], LAYER, limits);
    expectDefinition([item], limits);
  });

  test("itself alone gives its own value", () => {
    const item: Item = { row: 1, rows: 1, head: 1, visible: 0, total: 4, masks: [8n] };
    attend([item]);
    const { values, scale } = memory.cache.value(LAYER, 1, table[0]! * PAGE + 3);
    for (const member of range(group)) {
      const query = heads + group + member;
      for (const [d, value] of values.entries()) {
        expect(attended[query * headDim + d]).toBeCloseTo(value * scale, 6);
      }
    }
  });
});

test("the largest sums there are come out whole, also where 32 bits would not hold them", () => {
  const layer = LAYER - 1;
  for (const largest of [127, -127]) {
    const most = { int: (low: number, high: number) => (low < 0 ? largest : high) };
    for (const slot of range(pages * PAGE)) memory.cache.put(layer, 0, slot, most);
    // All keys are alike, so all values have the same weight.
    for (const total of [1, 511, 512, 513, 800]) {
      attend([{ row: 0, rows: 1, head: 0, visible: total - 1, total, masks: [1n] }], layer);
      const { scale } = memory.cache.value(layer, 0, 0);
      for (const value of attended.subarray(0, group * headDim)) expect(value / (largest * scale)).toBeCloseTo(1, 5);
    }
  }
});

test("through a window a row is the same bits whichever rows are in its run", () => {
  const window = 24;
  const limits = { ...NO_LIMITS, window, positions: range(ROWS).map((row) => 90 + row) };
  const item = (row: number, rows: number): Item => {
    return { row, rows, head: 0, visible: 90 + row, total: 90 + row + rows, masks: chain(rows) };
  };
  attend([item(0, 8)], LAYER, limits);
  const together = Float32Array.from(attended.subarray(0, 8 * heads * headDim));
  attend(
    range(8).map((row) => item(row, 1)),
    LAYER,
    limits,
  );
  expect(attended.subarray(0, 8 * heads * headDim)).toEqual(together);
});

test("what a row does not see, and what another row sees, changes no bit of it", () => {
  const items = range(kvHeads).map((head): Item => {
    return { row: 0, rows: 1, head, visible: 70, total: 71, masks: [1n] };
  });
  attend(items);
  const alone = Float32Array.from(attended.subarray(0, heads * headDim));
  const crowded = range(kvHeads).map((head): Item => {
    const masks = [1n, ...range(7).map((i) => (1n << BigInt(i + 2)) - 1n)];
    return { row: 0, rows: 8, head, visible: 70, total: 133, masks };
  });
  attend(crowded);
  expect(attended.subarray(0, heads * headDim)).toEqual(alone);
});
