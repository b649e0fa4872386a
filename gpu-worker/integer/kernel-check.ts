import { instantiate, type Kernel } from "./kernel-functions.ts";

/**
 * Small models whose pages, heads and blocks leave remainders of every kind: attention takes three query vectors at a
 * time in the one, four in the other.
 */
const SHAPES = [
  { width: 96, heads: 6, kvHeads: 2, headDim: 32, ffn: 192, pages: 48 },
  { width: 64, heads: 8, kvHeads: 2, headDim: 16, ffn: 128, pages: 48 },
] as const;
const CONTEXT = 768;
type Shape = (typeof SHAPES)[number];
const ROWS = 13;
const VOCABULARY = 24;
/** Areas of the memory, all larger than what is put there. */
const AREA = 1 << 18;
const areas = [
  "tokens",
  "embedding",
  "embeddingScales",
  "starts",
  "offsets",
  "columnScales",
  "scales",
  "sums",
  "x",
  "bytes",
  "byteScales",
  "scratch",
  "queries",
  "queryScales",
  "positions",
  "slots",
  "items",
  "table",
  "masks",
  "attended",
  "rotary",
  "gated",
  "best",
  "floats",
  "features",
  "hidden",
  "states",
  "drafts",
  "places",
  "windowed",
  "variants",
  "biased",
  "arena",
] as const;
const MEMORY_PAGES = ((areas.length + 4) * AREA) >> 16;

type Places = Readonly<Record<(typeof areas)[number], number>>;

/** Whether two compilations of the kernel compute the same bits: every function over the same random memory. */
export async function kernelsAgree(a: WebAssembly.Module, b: WebAssembly.Module): Promise<boolean> {
  for (const shape of SHAPES) {
    const [first, second] = [await traceOf(a, shape), await traceOf(b, shape)];
    if (first.some((word, i) => word !== second[i])) return false;
  }
  return true;
}

/** The memory after all functions have run. */
async function traceOf(code: WebAssembly.Module, shape: Shape): Promise<Uint32Array> {
  const memory = new WebAssembly.Memory({ initial: MEMORY_PAGES, maximum: MEMORY_PAGES, shared: true });
  const kernel = await instantiate(code, memory);
  const at = Object.fromEntries(areas.map((name, i) => [name, (i + 1) * AREA])) as Places;
  fill(memory.buffer, at, shape);
  exercise(kernel, memory.buffer, at, shape);
  return Uint32Array.from(new Uint32Array(memory.buffer));
}

function fill(memory: SharedArrayBuffer, at: Places, { width, heads, kvHeads, headDim, ffn, pages }: Shape): void {
  let seed = 12_345;
  const random = () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) | 0;
    return seed;
  };
  const ints = (place: number, values: ArrayLike<number>) => new Int32Array(memory, place).set(values);
  const floats = (place: number, count: number, scale: number) =>
    new Float32Array(memory, place, count).set(
      Float32Array.from({ length: count }, () => (random() / 2 ** 31) * scale),
    );
  const columns = 2 * ffn + (heads + 2 * kvHeads) * headDim;
  const cache = kvHeads * pages * 16 * (2 * headDim + 8);
  const bytes = new Uint8Array(memory);
  for (let i = 0; i < cache; i++) bytes[at.arena + i] = random() >>> 24;
  for (let head = 0; head < kvHeads; head++) {
    const region = at.arena + head * pages * 16 * (2 * headDim + 8);
    for (let i = 0; i < pages * 32; i++) {
      new Float32Array(memory, region + pages * 32 * headDim, pages * 32)[i] = 0.01 + (random() >>> 20) / 2 ** 16;
    }
  }
  ints(
    at.sums,
    Int32Array.from({ length: ROWS * 2 * ffn }, () => random() >> 12),
  );
  ints(
    at.offsets,
    Int32Array.from({ length: columns }, () => random() >> 16),
  );
  floats(at.columnScales, columns, 1e-4);
  floats(at.rotary, 2 * CONTEXT * (headDim / 2), 1);
  ints(
    at.tokens,
    Int32Array.from({ length: ROWS }, (_, i) => (i * 5) % VOCABULARY),
  );
  for (let i = 0; i < VOCABULARY * width; i++) bytes[at.embedding + i] = random() >>> 24;
  floats(at.embeddingScales, VOCABULARY, 0.05);
  new Float32Array(memory, at.scales, ROWS).fill(0.01);
  ints(
    at.positions,
    Int32Array.from({ length: ROWS }, (_, i) => i * 7),
  );
  ints(
    at.places,
    Int32Array.from({ length: ROWS }, (_, i) => 30 + i),
  );
  ints(
    at.slots,
    Int32Array.from({ length: ROWS }, (_, i) => 700 - i),
  );
  ints(
    at.table,
    Int32Array.from({ length: pages }, (_, i) => (i * 11) % pages),
  );
  new BigUint64Array(memory, at.masks, 8).set(BigUint64Array.from({ length: 8 }, (_, i) => (1n << BigInt(i + 1)) - 1n));
  // Runs of rows over short and long pasts, as many as vectors of a tile and fewer.
  const items = [
    [0, 8, 0, 30],
    [0, 8, 1, 600],
    [8, 5, 0, 1],
    [8, 1, 1, 500],
  ] as const;
  ints(
    at.items,
    items.flatMap(([row, rows, head, seen]) => [row, rows, head, seen, seen + rows, at.table, at.masks, row]),
  );
}

/** Every function has a place of its own for what it returns, so that all of it is there to be compared in the end. */
function exercise(kernel: Kernel, memory: SharedArrayBuffer, at: Places, shape: Shape): void {
  const { width, heads, kvHeads, headDim, ffn, pages } = shape;
  kernel.configure(width, heads, kvHeads, headDim, ffn, pages, at.arena, CONTEXT, 1e-5, headDim, 64);
  const starts = new Int32Array(memory, at.starts, 3);
  const inShards = (columns: number) => starts.set([0, columns / 2, columns]);
  const { sums, offsets, columnScales, scales, x, bytes, byteScales, scratch } = at;
  kernel.embed(0, ROWS, at.tokens, at.embedding, at.embeddingScales, x);
  inShards((heads + 2 * kvHeads) * headDim);
  kernel.splitHeads(
    0,
    ROWS,
    ROWS,
    0,
    sums,
    at.starts,
    offsets,
    columnScales,
    scales,
    at.positions,
    at.slots,
    0.05,
    0,
    0,
    at.rotary,
    0,
    0,
    scratch,
    at.queries,
    at.queryScales,
  );
  kernel.attend(0, 4, 0, at.items, at.queries, at.queryScales, at.attended, scratch, 0, 0, 0, 0, 0, 0);
  kernel.quantise(0, ROWS, at.attended, heads * headDim, bytes, byteScales);
  inShards(width);
  kernel.addAndNormalise(
    0,
    ROWS,
    ROWS,
    sums,
    at.starts,
    offsets,
    columnScales,
    scales,
    0,
    x,
    bytes + (AREA >> 1),
    byteScales + 4 * ROWS,
  );
  inShards(ffn);
  const products = [0, ROWS, ROWS, sums, at.starts, offsets, columnScales, scales] as const;
  kernel.gate(...products, 0, scratch, at.gated, byteScales + 8 * ROWS);
  kernel.logits(0, ROWS, ROWS, sums, at.starts, ffn, offsets, columnScales, scales, at.best, at.floats, 0);
  kernel.moveSlot(1, 5, 300);
  exerciseVariants(kernel, memory, at, shape);
  exerciseDrafts(kernel, memory, at, shape);
}

/** What other models than Llama need of the same functions, and a function of theirs. */
function exerciseVariants(kernel: Kernel, memory: SharedArrayBuffer, at: Places, shape: Shape): void {
  const { width, heads, kvHeads, headDim, ffn } = shape;
  const starts = new Int32Array(memory, at.starts, 3);
  const inShards = (columns: number) => starts.set([0, columns / 2, columns]);
  const { sums, offsets, columnScales, scales, scratch, positions, slots } = at;
  const products = [0, ROWS, ROWS, sums, at.starts, offsets, columnScales, scales] as const;
  // The angles are floats like any others, here and below.
  const floats = at.rotary;
  const window = 10;
  const masksApart = 8;
  const seen = [window, at.places, masksApart, 3, 0, 0] as const;
  kernel.attend(0, 4, 0, at.items, at.queries, at.queryScales, at.windowed, scratch, ...seen);
  inShards(width);
  const power = width & -width;
  kernel.addNormalised(...products, floats, floats, floats, power, scratch, at.variants);
  kernel.addAndNormalise(...products, floats, at.variants + (AREA >> 3), 0, 0);
  const [gated, steps] = [at.variants + (AREA >> 2), at.variants + (AREA >> 1)];
  inShards(ffn);
  kernel.gate(...products, 1, scratch, gated, steps);
  const [best, logits] = [steps + 1024, steps + 2048];
  kernel.logits(0, ROWS, ROWS, sums, at.starts, ffn, offsets, columnScales, scales, best, logits, 0.4);
  const [queries, queryScales] = [steps + (AREA >> 3), steps + (AREA >> 2)];
  const places = [positions, slots] as const;
  inShards((heads + 2 * kvHeads) * headDim);
  kernel.splitHeads(
    0,
    ROWS,
    ROWS,
    0,
    sums,
    at.starts,
    offsets,
    columnScales,
    scales,
    ...places,
    0.05,
    floats,
    floats,
    0,
    0,
    0,
    scratch,
    queries,
    queryScales,
  );
  exerciseKeyBias(kernel, at);
}

/** Queries, keys and values as before, with a bias of keys that the cache does not hold. */
function exerciseKeyBias(kernel: Kernel, at: Places): void {
  const { sums, starts, offsets, columnScales, scales, positions, slots, scratch } = at;
  const products = [ROWS, 0, sums, starts, offsets, columnScales, scales] as const;
  const [queries, queryScales, terms] = [at.biased, at.biased + (AREA >> 2), at.biased + (AREA >> 1)];
  const bias = [at.rotary, 0, at.rotary, at.rotary, terms] as const;
  kernel.splitHeads(0, ROWS, ...products, positions, slots, 0.05, ...bias, scratch, queries, queryScales);
  const out = terms + (AREA >> 2);
  kernel.attend(0, 4, 0, at.items, queries, queryScales, out, scratch, 0, positions, 0, 0, terms, at.rotary);
}

/** The draft heads' functions. */
function exerciseDrafts(kernel: Kernel, memory: SharedArrayBuffer, at: Places, { width, ffn }: Shape): void {
  const sessions = 3;
  const heads = 3;
  const starts = new Int32Array(memory, at.starts, 4);
  const inShards = (columns: number) => starts.set([0, 8, columns / 2, columns]);
  const { sums, offsets, columnScales, scales, tokens, rotary, scratch } = at;
  // The angles are floats like any others.
  new Int32Array(memory, at.drafts, 3).set([rotary, rotary + 256, at.x]);
  const table = [at.embedding, at.embeddingScales] as const;
  const bytes = at.features;
  const byteScales = bytes + (AREA >> 1);
  kernel.features(0, sessions, tokens, at.drafts, 3, scales, tokens, ...table, scratch, bytes, byteScales);
  inShards(ffn);
  const [inner, gates] = [at.hidden, at.hidden + (AREA >> 1)];
  const hidden = [sessions, sums, at.starts, offsets, columnScales, scales] as const;
  kernel.activate(0, sessions, ...hidden, ffn, 32, rotary, heads, rotary, gates, scratch, inner, gates + 1024);
  inShards(heads * width);
  const states = [at.states, at.states + (AREA >> 1)] as const;
  kernel.states(0, sessions * heads, ...hidden, heads, rotary, tokens, at.x, scales, scratch, ...states);
  inShards(ffn);
  const [best, logits, masses] = [at.drafts + 1024, at.drafts + 2048, at.drafts + 4096];
  const columns = [sessions, sums, at.starts, ffn, offsets, columnScales, scales] as const;
  kernel.likeliest(0, sessions, ...columns, 9, scratch, best, logits, masses);
}
