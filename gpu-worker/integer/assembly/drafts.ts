import { hadamard, largest, likelihood, silu, sum } from "./math";
import { largestOf, product, shard, toBytes } from "./product";
import { embedding } from "./rows";
import { width } from "./shape";

/*
 * The draft heads between their matrix products (models/README.md): a row of features per session, its hidden layer,
 * a state per session and head, and the likeliest tokens after each state. Sums of floats have an order of their own,
 * whatever the shards and whichever sessions are neighbours.
 */

/** Of the norms that the heads were trained with. */
const EPSILON: f32 = 1e-5;

/** 1 / root mean square of a stream. */
@inline
function inverseSize(stream: usize): f32 {
  let squares = f32x4.splat(0);
  for (let p = stream; p < stream + (<usize>width << 2); p += 16) {
    const v = v128.load(p);
    squares = f32x4.add(squares, f32x4.mul(v, v));
  }
  return 1 / sqrt<f32>(sum(squares) / <f32>width + EPSILON);
}

@inline
function scaled(stream: usize, factor: f32, to: usize): void {
  const f = f32x4.splat(factor);
  for (let i: usize = 0; i < <usize>width << 2; i += 16) v128.store(to + i, f32x4.mul(v128.load(stream + i), f));
}

/**
 * Of sessions [from, to) the `streams` features and the bonus token's embedding, [streams + 1, width] each, as bytes.
 * Feature i is row rows[s] of the stream whose address is sources[i], divided by its root mean square; the last one,
 * the final state, is multiplied by finals[s] instead.
 */
export function features(
  from: i32, to: i32, rows: usize, sources: usize, streams: i32, finals: usize, bonus: usize, table: usize,
  tableScales: usize, scratch: usize, bytes: usize, byteScales: usize,
): void {
  const columns = (streams + 1) * width;
  for (let s = from; s < to; s++) {
    const row = <usize>(load<i32>(rows + (<usize>s << 2)) * width) << 2;
    let target = scratch;
    for (let i = 0; i < streams; i++, target += <usize>width << 2) {
      const stream = <usize>load<u32>(sources + (<usize>i << 2)) + row;
      scaled(stream, i == streams - 1 ? load<f32>(finals + (<usize>s << 2)) : inverseSize(stream), target);
    }
    embedding(load<i32>(bonus + (<usize>s << 2)), table, tableScales, target);
    scaled(target, inverseSize(target), target);
    const step = toBytes(scratch, columns, bytes + <usize>(s * columns), largestOf(scratch, columns));
    store<f32>(byteScales + (<usize>s << 2), step);
  }
}

/**
 * Rows of `weights`, `size` bytes each, times the vector at `u`. Four sums at a time, as an addition waits for the one
 * before; those beyond the last row are of that row again.
 */
function multiply(u: usize, size: usize, rows: i32, weights: usize, to: usize): void {
  for (let j = 0; j < rows; j += 4) {
    const second = min(j + 1, rows - 1), third = min(j + 2, rows - 1), fourth = min(j + 3, rows - 1);
    const w0 = weights + <usize>j * size, w1 = weights + <usize>second * size;
    const w2 = weights + <usize>third * size, w3 = weights + <usize>fourth * size;
    let a = f32x4.splat(0), b = a, c = a, d = a;
    for (let i: usize = 0; i < size; i += 16) {
      const v = v128.load(u + i);
      a = f32x4.add(a, f32x4.mul(v, v128.load(w0 + i)));
      b = f32x4.add(b, f32x4.mul(v, v128.load(w1 + i)));
      c = f32x4.add(c, f32x4.mul(v, v128.load(w2 + i)));
      d = f32x4.add(d, f32x4.mul(v, v128.load(w3 + i)));
    }
    store<f32>(to + (<usize>j << 2), sum(a));
    store<f32>(to + (<usize>second << 2), sum(b));
    store<f32>(to + (<usize>third << 2), sum(c));
    store<f32>(to + (<usize>fourth << 2), sum(d));
  }
}

/**
 * u = silu(product) [columns] of sessions [from, to) -> products [sessions, rows] = weights u (unless `products` is 0),
 * and u times `signs`, transformed in blocks of `block`, as bytes.
 */
export function activate(
  from: i32, to: i32, sessions: i32, sums: usize, starts: usize, offsets: usize, columnScales: usize, scales: usize,
  columns: i32, block: i32, signs: usize, rows: i32, weights: usize, products: usize, scratch: usize, bytes: usize,
  byteScales: usize,
): void {
  const size = <usize>columns << 2;
  for (let s = from; s < to; s++) {
    const rowScale = v128.load_splat<f32>(scales + (<usize>s << 2));
    for (let i = 0, c = load<i32>(starts); c < columns; i++) {
      const next = load<i32>(starts + (<usize>i << 2), 4);
      let at = shard(sums, sessions, s, c, next);
      for (; c < next; c += 4, at += 16) {
        const n = <usize>c << 2;
        v128.store(scratch + n, silu(product(at, offsets + n, columnScales + n, rowScale)));
      }
    }
    if (products != 0) multiply(scratch, size, rows, weights, products + (<usize>(s * rows) << 2));
    for (let i: usize = 0; i < size; i += 16) {
      v128.store(scratch + i, f32x4.mul(v128.load(scratch + i), v128.load(signs + i)));
    }
    hadamard(scratch, columns, block);
    const step = toBytes(scratch, columns, bytes + <usize>(s * columns), largestOf(scratch, columns));
    store<f32>(byteScales + (<usize>s << 2), step);
  }
}

/**
 * States [from, to), which are [sessions, heads]: x[rows[s]] * inverses[s] + product + bias [heads, width], as bytes.
 */
export function states(
  from: i32, to: i32, sessions: i32, sums: usize, starts: usize, offsets: usize, columnScales: usize, scales: usize,
  heads: i32, bias: usize, rows: usize, x: usize, inverses: usize, scratch: usize, bytes: usize, byteScales: usize,
): void {
  for (let state = from; state < to; state++) {
    const s = state / heads, first = (state % heads) * width, end = first + width;
    const rowScale = v128.load_splat<f32>(scales + (<usize>s << 2));
    const inverse = v128.load_splat<f32>(inverses + (<usize>s << 2));
    let stream = x + (<usize>(load<i32>(rows + (<usize>s << 2)) * width) << 2);
    let target = scratch;
    for (let i = 0, c = first; c < end; i++) {
      const start = load<i32>(starts + (<usize>i << 2)), next = load<i32>(starts + (<usize>i << 2), 4);
      let at = shard(sums, sessions, s, start, next) + (<usize>(c - start) << 2);
      for (const last = min(next, end); c < last; c += 4, at += 16, stream += 16, target += 16) {
        const n = <usize>c << 2;
        const update = f32x4.add(product(at, offsets + n, columnScales + n, rowScale), v128.load(bias + n));
        v128.store(target, f32x4.add(f32x4.mul(v128.load(stream), inverse), update));
      }
    }
    const step = toBytes(scratch, width, bytes + <usize>(state * width), largestOf(scratch, width));
    store<f32>(byteScales + (<usize>state << 2), step);
  }
}

/**
 * The k likeliest of `columns` (a multiple of 8) after rows [from, to): columns and logits [rows, k], falling, the
 * lower of equal columns first; and masses [rows], the sum of e^(logit - largest) over all columns.
 */
export function likeliest(
  from: i32, to: i32, rows: i32, sums: usize, starts: usize, columns: i32, offsets: usize, columnScales: usize,
  scales: usize, k: i32, scratch: usize, best: usize, logits: usize, masses: usize,
): void {
  const end = scratch + (<usize>columns << 2), size = <usize>k << 2;
  for (let row = from; row < to; row++) {
    const rowScale = v128.load_splat<f32>(scales + (<usize>row << 2));
    let most = f32x4.splat(-Infinity);
    for (let i = 0, c = load<i32>(starts); c < columns; i++) {
      const next = load<i32>(starts + (<usize>i << 2), 4);
      let at = shard(sums, rows, row, c, next);
      for (; c < next; c += 4, at += 16) {
        const n = <usize>c << 2;
        const v = product(at, offsets + n, columnScales + n, rowScale);
        v128.store(scratch + n, v);
        most = f32x4.pmax(most, v);
      }
    }
    most = f32x4.splat(largest(most));
    let a = f32x4.splat(0), b = a;
    for (let p = scratch; p < end; p += 32) {
      a = f32x4.add(a, likelihood(v128.load(p), most));
      b = f32x4.add(b, likelihood(v128.load(p, 16), most));
    }
    store<f32>(masses + (<usize>row << 2), sum(f32x4.add(a, b)));
    rank(scratch, end, k, best + <usize>row * size, logits + <usize>row * size);
  }
}

/** The k largest floats of [at, end), falling, and where each stands. */
function rank(at: usize, end: usize, k: i32, places: usize, values: usize): void {
  const last = values + (<usize>(k - 1) << 2);
  for (let p = values; p <= last; p += 4) store<f32>(p, -Infinity);
  let least = f32x4.splat(-Infinity);
  for (let p = at; p < end; p += 16) {
    if (!v128.any_true(f32x4.gt(v128.load(p), least))) continue;
    for (let i: usize = 0; i < 16; i += 4) {
      const value = load<f32>(p + i);
      if (!(value > load<f32>(last))) continue;
      let to = last, place = places + (last - values);
      for (; to > values && value > load<f32>(to - 4); to -= 4, place -= 4) {
        store<f32>(to, load<f32>(to - 4));
        store<i32>(place, load<i32>(place - 4));
      }
      store<f32>(to, value);
      store<i32>(place, <i32>((p + i - at) >> 2));
    }
    least = v128.load_splat<f32>(last);
  }
}
