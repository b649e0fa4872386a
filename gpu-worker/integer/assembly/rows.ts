import { putKey, putValue } from "./cache";
import { biasTerms } from "./key-bias";
import { capped, gelu, hadamard, largest, silu, sum } from "./math";
import { largestOf, product, shard, toBytes, toWords } from "./product";
import { context, epsilon, ffn, ffnBlock, headBlock, headDim, heads, kvHeads, width } from "./shape";

/*
 * What lies between two matrix products of the base model, row by row.
 */

/** Rows [from, to) of x [rows, width]: the tokens' embeddings, int8 with a scale each. */
export function embed(from: i32, to: i32, tokens: usize, table: usize, scales: usize, x: usize): void {
  for (let row = from; row < to; row++) {
    embedding(load<i32>(tokens + (<usize>row << 2)), table, scales, x + <usize>(row * width) * 4);
  }
}

/** One token's, at `target`. */
@inline
export function embedding(token: i32, table: usize, scales: usize, target: usize): void {
  const scale = v128.load_splat<f32>(scales + (<usize>token << 2));
  let source = table + <usize>token * <usize>width;
  for (let i = 0; i < width; i += 4, source += 4, target += 16) {
    const wide = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load_zero<i32>(source)));
    v128.store(target, f32x4.mul(f32x4.convert_i32x4_s(wide), scale));
  }
}

/**
 * x += product (unless `sums` is 0) and `bias` (unless it is 0), then the root-mean-square normalised row as bytes
 * (unless `bytes` is 0); the norm's weights are in the matrices.
 */
export function addAndNormalise(
  from: i32, to: i32, rows: i32, sums: usize, starts: usize, offsets: usize, columnScales: usize, scales: usize,
  bias: usize, x: usize, bytes: usize, byteScales: usize,
): void {
  for (let row = from; row < to; row++) {
    const target = x + (<usize>(row * width) << 2);
    if (sums != 0) {
      const rowScale = v128.load_splat<f32>(scales + (<usize>row << 2));
      for (let s = 0, c = load<i32>(starts); c < width; s++) {
        const next = load<i32>(starts + (<usize>s << 2), 4);
        let at = shard(sums, rows, row, c, next);
        for (; c < next; c += 4, at += 16) {
          const i = <usize>c << 2;
          let update = product(at, offsets + i, columnScales + i, rowScale);
          if (bias != 0) update = f32x4.add(update, v128.load(bias + i));
          v128.store(target + i, f32x4.add(v128.load(target + i), update));
        }
      }
    }
    if (bytes == 0) continue;
    let squares = f32x4.splat(0), most = f32x4.splat(0);
    for (let p = target; p < target + (<usize>width << 2); p += 16) {
      const v = v128.load(p);
      squares = f32x4.add(squares, f32x4.mul(v, v));
      most = f32x4.pmax(most, f32x4.abs(v));
    }
    const inverse: f32 = 1 / sqrt<f32>(sum(squares) / <f32>width + epsilon);
    const step = toBytes(target, width, bytes + <usize>(row * width), largest(most));
    store<f32>(byteScales + (<usize>row << 2), step * inverse);
  }
}

/** Rows of `count` floats as bytes. */
export function quantise(from: i32, to: i32, source: usize, count: i32, bytes: usize, byteScales: usize): void {
  for (let row = from; row < to; row++) {
    const at = source + (<usize>(row * count) << 2);
    store<f32>(byteScales + (<usize>row << 2), toBytes(at, count, bytes + <usize>(row * count), largestOf(at, count)));
  }
}

/**
 * Gate and up, [ffn] each -> silu(gate) * up, or gelu(gate) * up where `bell`, transformed blockwise, as bytes. A shard
 * of the sums has both for its columns, gate first.
 */
export function gate(
  from: i32, to: i32, rows: i32, sums: usize, starts: usize, offsets: usize, columnScales: usize, scales: usize,
  bell: bool, scratch: usize, bytes: usize, byteScales: usize,
): void {
  const half = <usize>ffn << 2;
  for (let row = from; row < to; row++) {
    const rowScale = v128.load_splat<f32>(scales + (<usize>row << 2));
    for (let s = 0, c = load<i32>(starts); c < ffn; s++) {
      const next = load<i32>(starts + (<usize>s << 2), 4);
      const across = <usize>(next - c) << 2;
      let at = shard(sums, rows, row, c << 1, next << 1);
      for (; c < next; c += 4, at += 16) {
        const i = <usize>c << 2;
        const g = product(at, offsets + i, columnScales + i, rowScale);
        const up = product(at + across, offsets + half + i, columnScales + half + i, rowScale);
        v128.store(scratch + i, f32x4.mul(bell ? gelu(g) : silu(g), up));
      }
    }
    hadamard(scratch, ffn, ffnBlock);
    const step = toBytes(scratch, ffn, bytes + <usize>(row * ffn), largestOf(scratch, ffn));
    store<f32>(byteScales + (<usize>row << 2), step);
  }
}

/**
 * Normalises a head (unless `norm`, its weights, is 0) and rotates its two halves by its position's angles (unless
 * `angles` is 0).
 */
@inline
function place(head: usize, position: i32, norm: usize, angles: usize): void {
  if (norm != 0) normalise(head, norm);
  if (angles != 0) turn(head, position, angles);
}

/** A head divided by its root mean square, times the norm's weights. */
function normalise(head: usize, weights: usize): void {
  const size = <usize>headDim << 2;
  let squares = f32x4.splat(0);
  for (let i: usize = 0; i < size; i += 16) {
    const v = v128.load(head + i);
    squares = f32x4.add(squares, f32x4.mul(v, v));
  }
  const inverse = f32x4.splat(1 / sqrt<f32>(sum(squares) / <f32>headDim + epsilon));
  for (let i: usize = 0; i < size; i += 16) {
    v128.store(head + i, f32x4.mul(f32x4.mul(v128.load(head + i), inverse), v128.load(weights + i)));
  }
}

@inline
function turn(head: usize, position: i32, angles: usize): void {
  const half = <usize>headDim << 1;
  const cosines = angles + <usize>position * half;
  const sines = cosines + <usize>context * half;
  for (let i: usize = 0; i < half; i += 16) {
    const a = v128.load(head + i), b = v128.load(head + half + i);
    const c = v128.load(cosines + i), s = v128.load(sines + i);
    v128.store(head + i, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
    v128.store(head + half + i, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)));
  }
}

/** The largest of a query's, a key's and a value's steps; and of a query's where 8 bits may be too few for its bias. */
const STEPS: f32 = 127;
const FINE_STEPS: f32 = 16383;

/**
 * Columns [(heads + 2 kvHeads) headDim] -> queries as int16 [rows, heads, headDim] with a scale each, which has
 * the softmax's scale in it; keys and values go into the cache at the rows' slots. `bias` [columns] is added first;
 * `norms` are [headDim] weights for queries, then for keys; `angles` are a table of them (shape.ts). Each may be 0.
 *
 * `keyBias` [kvHeads, headDim], unless it is 0, is a bias that the cached keys lack (key-bias.ts): queries have finer
 * steps then, and their terms at `terms` [rows, heads, headDim].
 */
export function splitHeads(
  from: i32, to: i32, rows: i32, layer: i32, sums: usize, starts: usize, offsets: usize, columnScales: usize,
  scales: usize, positions: usize, slots: usize, queryScale: f32, bias: usize, norms: usize, angles: usize,
  keyBias: usize, terms: usize, scratch: usize, queries: usize, queryScales: usize,
): void {
  const columns = (heads + 2 * kvHeads) * headDim;
  const words = scratch + (<usize>columns << 2);
  const headBytes = <usize>headDim << 2;
  const keyNorm = norms == 0 ? 0 : norms + headBytes;
  for (let row = from; row < to; row++) {
    const rowScale = v128.load_splat<f32>(scales + (<usize>row << 2));
    for (let s = 0, c = load<i32>(starts); c < columns; s++) {
      const next = load<i32>(starts + (<usize>s << 2), 4);
      let at = shard(sums, rows, row, c, next);
      for (; c < next; c += 4, at += 16) {
        const i = <usize>c << 2;
        let v = product(at, offsets + i, columnScales + i, rowScale);
        if (bias != 0) v = f32x4.add(v, v128.load(bias + i));
        v128.store(scratch + i, v);
      }
    }
    const position = load<i32>(positions + (<usize>row << 2));
    const slot = load<i32>(slots + (<usize>row << 2));
    let head = scratch;
    for (let h = 0; h < heads; h++, head += headBytes) {
      const query = row * heads + h;
      place(head, position, norms, angles);
      if (keyBias != 0) {
        const own = keyBias + <usize>(h / (heads / kvHeads)) * headBytes;
        biasTerms(head, own, queryScale * <f32>headBlock, terms + <usize>query * headBytes);
      }
      hadamard(head, headDim, headBlock);
      const steps = keyBias != 0 ? FINE_STEPS : STEPS;
      const step = toWords(head, headDim, queries + <usize>(query * headDim) * 2, largestOf(head, headDim), steps);
      store<f32>(queryScales + (<usize>query << 2), step * queryScale);
    }
    for (let h = 0; h < kvHeads; h++, head += headBytes) {
      place(head, position, keyNorm, angles);
      hadamard(head, headDim, headBlock);
      const step = toWords(head, headDim, words, largestOf(head, headDim), STEPS);
      putKey(layer, h, slot, words, step);
    }
    for (let h = 0; h < kvHeads; h++, head += headBytes) {
      const step = toWords(head, headDim, words, largestOf(head, headDim), STEPS);
      putValue(layer, h, slot, words, step);
    }
  }
}

/**
 * The first of the likeliest tokens of each row, and, unless `floats` is 0, its logits [rows, columns] there, which
 * come to at most `cap` in size (0: to any).
 */
export function logits(
  from: i32, to: i32, rows: i32, sums: usize, starts: usize, columns: i32, offsets: usize, columnScales: usize,
  scales: usize, best: usize, floats: usize, cap: f32,
): void {
  const limit = f32x4.splat(cap), inverse = f32x4.splat(1 / cap);
  for (let row = from; row < to; row++) {
    const rowScale = v128.load_splat<f32>(scales + (<usize>row << 2));
    const target = floats + <usize>row * (<usize>columns << 2);
    let most = f32x4.splat(-Infinity);
    let where = i32x4.splat(0), place = i32x4(0, 1, 2, 3);
    for (let s = 0, c = load<i32>(starts); c < columns; s++) {
      const next = load<i32>(starts + (<usize>s << 2), 4);
      let at = shard(sums, rows, row, c, next);
      for (; c < next; c += 4, at += 16) {
        const i = <usize>c << 2;
        let v = product(at, offsets + i, columnScales + i, rowScale);
        if (cap != 0) v = capped(v, limit, inverse);
        if (floats != 0) v128.store(target + i, v);
        where = v128.bitselect(place, where, f32x4.gt(v, most));
        most = f32x4.pmax(most, v);
        place = i32x4.add(place, i32x4.splat(4));
      }
    }
    // The lowest place among the lanes that hold the largest value.
    const value = largest(most);
    let first = i32.MAX_VALUE;
    if (f32x4.extract_lane(most, 0) == value) first = min(first, i32x4.extract_lane(where, 0));
    if (f32x4.extract_lane(most, 1) == value) first = min(first, i32x4.extract_lane(where, 1));
    if (f32x4.extract_lane(most, 2) == value) first = min(first, i32x4.extract_lane(where, 2));
    if (f32x4.extract_lane(most, 3) == value) first = min(first, i32x4.extract_lane(where, 3));
    store<i32>(best + (<usize>row << 2), first);
  }
}
