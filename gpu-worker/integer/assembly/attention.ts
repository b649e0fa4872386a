import { keyScalesOf, keysOf, PAGE, valueScalesOf } from "./cache";
import { addTerms } from "./key-bias";
import { capped, coefficient, largest, leastExponent, magic, nearest, scaleBy } from "./math";
import { mix, put, SPAN, tileOf } from "./mix";
import { headDim, heads, kvHeads } from "./shape";

/*
 * Attention over the paged cache, in integers: queries have 8 bits, or 15 in models with biases, keys and values 8, the
 * weights that a softmax gives the values 15. Sums of integers do not depend on their order, so a row's result is the
 * same bits however its pass was made up, and wherever in the cache its past lies: a drafted token gets what plain
 * decoding would give it.
 *
 * An item is a run of rows of one session before one key/value head, eight int32:
 *   row, rows, head, visible, total, table, masks, fresh
 * Row i of it sees the slots [0, visible), and of [visible, total), at most 64, those whose bits are set in the i-th
 * uint64 at `masks`. `table` is the session's page table, int32 each; `fresh` is the row whose slot is `visible`.
 *
 * Through a window a row sees no slot below its position - window + 1, and the bits are others, `masksApart` bytes
 * after those: a slot below `visible` holds the token of its own number's position, one of a draft tree need not.
 */
const ITEM_BYTES: usize = 32;

/** Largest weight of a value. */
const WEIGHT: f32 = 32767;
/** What a likelihood relative to the largest is counted in for the softmax's denominator. */
const UNIT: f32 = 262144;

/**
 * `window`: 0 for none. `cap`: scores, as exponents of 2, become cap tanh(score / cap); 0: they stay. `terms`, unless
 * it is 0, is what splitHeads makes of queries and the keys' bias, and is added to the scores by `angles`.
 */
export function attend(
  from: i32, to: i32, layer: i32, items: usize, queries: usize, queryScales: usize, out: usize, scratch: usize,
  window: i32, positions: usize, masksApart: usize, cap: f32, terms: usize, angles: usize,
): void {
  for (let item = from; item < to; item++) {
    const at = items + <usize>item * ITEM_BYTES;
    const group = heads / kvHeads;
    const rows = load<i32>(at, 4), head = load<i32>(at, 8);
    let visible = load<i32>(at, 12), total = load<i32>(at, 16);
    let table = <usize>load<u32>(at, 20), masks = <usize>load<u32>(at, 24);
    const places = positions + (<usize>load<i32>(at) << 2);
    // Slots of whole pages that no row of the run sees are as if they were not there.
    let skipped = 0;
    if (window != 0) {
      skipped = lowestSeen(places, rows, window, visible) / PAGE * PAGE;
      table += <usize>(skipped / PAGE) << 2;
      visible -= skipped;
      total -= skipped;
      masks += masksApart;
    }
    const count = (total + PAGE - 1) / PAGE;
    const vectors = rows * group;
    const first = load<i32>(at) * heads + head * group;
    const stride = (<usize>(count * PAGE) << 2) + 64;
    const padded = (vectors + 3) & ~3;
    const factors = scratch;
    const pointers = factors + (<usize>padded << 2);
    const scales = pointers + (<usize>padded << 2);
    const sums = (scales + (<usize>padded << 2) + 15) & ~15;
    const wide = sums + <usize>padded * (<usize>headDim << 2);
    const scores = wide + <usize>padded * (<usize>headDim << 3);
    for (let i = 0; i < padded; i++) {
      const vector = min(i, vectors - 1);
      const query = first + (vector / group) * heads + (vector % group);
      store<u32>(pointers + (<usize>i << 2), <u32>(queries + <usize>(query * headDim) * 2));
      store<f32>(scales + (<usize>i << 2), load<f32>(queryScales + (<usize>query << 2)));
    }
    score(layer, head, table, count, pointers, scales, vectors, scores, stride);
    if (terms != 0) {
      const own = terms + (<usize>(first * headDim) << 2);
      const fresh = positions + (<usize>load<i32>(at, 28) << 2);
      addTerms(own, vectors, scores, stride, skipped, visible, total, fresh, angles);
    }
    for (let i = 0; i < vectors; i++) {
      const row = scores + <usize>i * stride;
      if (cap != 0) limit(row, count, cap);
      if (window != 0) {
        const unseen = load<i32>(places + (<usize>(i / group) << 2)) - window + 1 - skipped;
        for (let slot = 0; slot < unseen; slot++) store<f32>(row + (<usize>slot << 2), -Infinity);
      }
      mask(row, visible, total, count * PAGE, load<u64>(masks + (<usize>(i / group) << 3)));
      store<f32>(factors + (<usize>i << 2), weigh(layer, head, table, count, row));
    }
    mix(layer, head, table, count, vectors, scores, stride, sums, wide);
    for (let i = 0; i < vectors; i++) {
      const query = first + (i / group) * heads + (i % group);
      put(count > SPAN ? 0 : sums + <usize>i * (<usize>headDim << 2), wide + <usize>i * (<usize>headDim << 3),
        load<f32>(factors + (<usize>i << 2)), out + (<usize>(query * headDim) << 2));
    }
  }
}

/** The lowest slot that one of the rows at these positions sees, at most `most`. */
function lowestSeen(positions: usize, rows: i32, window: i32, most: i32): i32 {
  let lowest = most;
  for (let i = 0; i < rows; i++) lowest = min(lowest, load<i32>(positions + (<usize>i << 2)) - window + 1);
  return max(lowest, 0);
}

function limit(scores: usize, count: i32, cap: f32): void {
  const most = f32x4.splat(cap), inverse = f32x4.splat(1 / cap);
  const end = scores + (<usize>count << 6);
  for (let p = scores; p < end; p += 16) v128.store(p, capped(v128.load(p), most, inverse));
}

/** Products of the query vectors and every key, [vectors][stride / 4] float32. */
function score(
  layer: i32, head: i32, table: usize, count: i32, pointers: usize, scales: usize, vectors: i32, scores: usize,
  stride: usize,
): void {
  const keys = keysOf(layer, head), keyScales = keyScalesOf(layer, head);
  const half = <usize>(8 * headDim), tile = tileOf(vectors);
  for (let p = 0; p < count; p++) {
    const page = <usize>load<i32>(table + (<usize>p << 2));
    const k = keys + page * (half << 1), s = keyScales + page * 64;
    for (let i = 0; i < vectors; i += tile) {
      const q = pointers + (<usize>i << 2), to = scores + <usize>i * stride + (<usize>p << 6);
      if (tile == 3) {
        scoreTile(k, s, q, scales + (<usize>i << 2), to, stride, false);
        scoreTile(k + half, s + 32, q, scales + (<usize>i << 2), to + 32, stride, false);
      } else {
        scoreTile(k, s, q, scales + (<usize>i << 2), to, stride, true);
        scoreTile(k + half, s + 32, q, scales + (<usize>i << 2), to + 32, stride, true);
      }
    }
  }
}

/** Three or four query vectors before eight keys. */
@inline
function scoreTile(
  k: usize, keyScales: usize, pointers: usize, scales: usize, to: usize, stride: usize, four: bool,
): void {
  let q0 = <usize>load<u32>(pointers), q1 = <usize>load<u32>(pointers, 4);
  let q2 = <usize>load<u32>(pointers, 8), q3 = <usize>load<u32>(pointers, 12);
  let a0 = i32x4.splat(0), b0 = a0, a1 = a0, b1 = a0, a2 = a0, b2 = a0, a3 = a0, b3 = a0;
  const end = k + <usize>(8 * headDim);
  for (; k < end; k += 16, q0 += 4, q1 += 4, q2 += 4, q3 += 4) {
    const x = v128.load_ext<i8>(k), y = v128.load_ext<i8>(k, 8);
    let q = v128.load_splat<i32>(q0);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(x, q));
    b0 = i32x4.add(b0, i32x4.dot_i16x8_s(y, q));
    q = v128.load_splat<i32>(q1);
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(x, q));
    b1 = i32x4.add(b1, i32x4.dot_i16x8_s(y, q));
    q = v128.load_splat<i32>(q2);
    a2 = i32x4.add(a2, i32x4.dot_i16x8_s(x, q));
    b2 = i32x4.add(b2, i32x4.dot_i16x8_s(y, q));
    if (four) {
      q = v128.load_splat<i32>(q3);
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(x, q));
      b3 = i32x4.add(b3, i32x4.dot_i16x8_s(y, q));
    }
  }
  const ka = v128.load(keyScales), kb = v128.load(keyScales, 16);
  scaled(a0, b0, ka, kb, scales, to);
  scaled(a1, b1, ka, kb, scales + 4, to + stride);
  scaled(a2, b2, ka, kb, scales + 8, to + 2 * stride);
  if (four) scaled(a3, b3, ka, kb, scales + 12, to + 3 * stride);
}

@inline
function scaled(a: v128, b: v128, ka: v128, kb: v128, scale: usize, to: usize): void {
  const q = v128.load_splat<f32>(scale);
  v128.store(to, f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(a), ka), q));
  v128.store(to, f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(b), kb), q), 16);
}

/** Takes out the slots from `visible` on that a row does not see. */
function mask(scores: usize, visible: i32, total: i32, slots: i32, seen: u64): void {
  for (let slot = visible; slot < slots; slot++) {
    if (slot < total && ((seen >> <u64>(slot - visible)) & 1) == 1) continue;
    store<f32>(scores + (<usize>slot << 2), -Infinity);
  }
}

/**
 * Scores, as exponents of 2, to int16 weights in their place: softmax(score) * value scale, the largest as WEIGHT.
 * Returns what one unit of weight is worth.
 */
function weigh(layer: i32, head: i32, table: usize, count: i32, scores: usize): f32 {
  const valueScales = valueScalesOf(layer, head);
  const end = scores + (<usize>count << 6);
  let a = v128.load(scores), b = a;
  for (let p = scores; p < end; p += 32) {
    a = f32x4.pmax(a, v128.load(p));
    b = f32x4.pmax(b, v128.load(p, 16));
  }
  const most = f32x4.splat(largest(f32x4.pmax(a, b)));
  const unit = f32x4.splat(UNIT), least = leastExponent();
  let mass = i32x4.splat(0), heaviest = f32x4.splat(0);
  let p = scores;
  for (let i: usize = 0; i < <usize>count; i++, p += 64) {
    const page = valueScales + (<usize>load<i32>(table + (i << 2)) << 6);
    // A page's sixteen slots in step, so that each constant is loaded once for all of them.
    const s0 = f32x4.sub(v128.load(p), most), s1 = f32x4.sub(v128.load(p, 16), most);
    const s2 = f32x4.sub(v128.load(p, 32), most), s3 = f32x4.sub(v128.load(p, 48), most);
    const m = magic();
    const n0 = f32x4.add(f32x4.pmax(least, s0), m), n1 = f32x4.add(f32x4.pmax(least, s1), m);
    const n2 = f32x4.add(f32x4.pmax(least, s2), m), n3 = f32x4.add(f32x4.pmax(least, s3), m);
    const r0 = f32x4.sub(f32x4.pmax(least, s0), f32x4.sub(n0, m));
    const r1 = f32x4.sub(f32x4.pmax(least, s1), f32x4.sub(n1, m));
    const r2 = f32x4.sub(f32x4.pmax(least, s2), f32x4.sub(n2, m));
    const r3 = f32x4.sub(f32x4.pmax(least, s3), f32x4.sub(n3, m));
    let c = coefficient(4), d = coefficient(3);
    let e0 = f32x4.add(f32x4.mul(c, r0), d), e1 = f32x4.add(f32x4.mul(c, r1), d);
    let e2 = f32x4.add(f32x4.mul(c, r2), d), e3 = f32x4.add(f32x4.mul(c, r3), d);
    c = coefficient(2);
    e0 = f32x4.add(f32x4.mul(e0, r0), c);
    e1 = f32x4.add(f32x4.mul(e1, r1), c);
    e2 = f32x4.add(f32x4.mul(e2, r2), c);
    e3 = f32x4.add(f32x4.mul(e3, r3), c);
    c = coefficient(1);
    e0 = f32x4.add(f32x4.mul(e0, r0), c);
    e1 = f32x4.add(f32x4.mul(e1, r1), c);
    e2 = f32x4.add(f32x4.mul(e2, r2), c);
    e3 = f32x4.add(f32x4.mul(e3, r3), c);
    c = coefficient(0);
    e0 = scaleBy(f32x4.add(f32x4.mul(e0, r0), c), n0);
    e1 = scaleBy(f32x4.add(f32x4.mul(e1, r1), c), n1);
    e2 = scaleBy(f32x4.add(f32x4.mul(e2, r2), c), n2);
    e3 = scaleBy(f32x4.add(f32x4.mul(e3, r3), c), n3);
    // What is so unlikely, or masked, has no weight at all.
    e0 = v128.and(e0, f32x4.gt(s0, least));
    e1 = v128.and(e1, f32x4.gt(s1, least));
    e2 = v128.and(e2, f32x4.gt(s2, least));
    e3 = v128.and(e3, f32x4.gt(s3, least));
    const half = i32x4.add(counted(e0, unit), counted(e1, unit));
    mass = i32x4.add(mass, i32x4.add(half, i32x4.add(counted(e2, unit), counted(e3, unit))));
    e0 = f32x4.mul(e0, v128.load(page));
    e1 = f32x4.mul(e1, v128.load(page, 16));
    e2 = f32x4.mul(e2, v128.load(page, 32));
    e3 = f32x4.mul(e3, v128.load(page, 48));
    heaviest = f32x4.pmax(heaviest, f32x4.pmax(f32x4.pmax(e0, e1), f32x4.pmax(e2, e3)));
    v128.store(p, e0);
    v128.store(p, e1, 16);
    v128.store(p, e2, 32);
    v128.store(p, e3, 48);
  }
  const weight = largest(heaviest);
  if (weight == 0) {
    memory.fill(scores, 0, <usize>count << 5);
    return 0;
  }
  const scale = f32x4.splat(WEIGHT / weight);
  let to = scores;
  for (p = scores; p < end; p += 32, to += 16) {
    const low = nearest(f32x4.mul(v128.load(p), scale)), high = nearest(f32x4.mul(v128.load(p, 16), scale));
    v128.store(to, i16x8.narrow_i32x4_s(low, high));
  }
  const all = <f64>i32x4.extract_lane(mass, 0) + <f64>i32x4.extract_lane(mass, 1)
    + <f64>i32x4.extract_lane(mass, 2) + <f64>i32x4.extract_lane(mass, 3);
  return <f32>(<f64>weight * UNIT / (<f64>WEIGHT * all));
}

/** A likelihood relative to the largest, in units of the denominator's sum. */
@inline
function counted(likelihood: v128, unit: v128): v128 {
  return nearest(f32x4.mul(likelihood, unit));
}
