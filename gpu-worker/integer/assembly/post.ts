import { hadamard, sum } from "./math";
import { product, shard } from "./product";
import { epsilon, width } from "./shape";

/*
 * Norms of what a block adds to the stream. They stand between a matrix and the stream's basis, so the matrix leaves
 * its result in the model's own basis and it is turned here: signs, a Walsh-Hadamard transform over the `power` of two
 * in the width, a cosine transform over the rest (shared/rotation.ts).
 */

/**
 * Rows [from, to): x += turned(weights * normalised(product + bias)); `bias` may be 0. `turn` is [width] signs over the
 * root of `power`, then the cosine transform [rest, rest]; `scratch` holds width + rest floats.
 */
export function addNormalised(
  from: i32, to: i32, rows: i32, sums: usize, starts: usize, offsets: usize, columnScales: usize, scales: usize,
  bias: usize, weights: usize, turn: usize, power: i32, scratch: usize, x: usize,
): void {
  const size = <usize>width << 2;
  for (let row = from; row < to; row++) {
    const rowScale = v128.load_splat<f32>(scales + (<usize>row << 2));
    let squares = f32x4.splat(0);
    for (let s = 0, c = load<i32>(starts); c < width; s++) {
      const next = load<i32>(starts + (<usize>s << 2), 4);
      let at = shard(sums, rows, row, c, next);
      for (; c < next; c += 4, at += 16) {
        const i = <usize>c << 2;
        let v = product(at, offsets + i, columnScales + i, rowScale);
        if (bias != 0) v = f32x4.add(v, v128.load(bias + i));
        squares = f32x4.add(squares, f32x4.mul(v, v));
        v128.store(scratch + i, v);
      }
    }
    const inverse = f32x4.splat(1 / sqrt<f32>(sum(squares) / <f32>width + epsilon));
    for (let i: usize = 0; i < size; i += 16) {
      const v = f32x4.mul(f32x4.mul(v128.load(scratch + i), inverse), v128.load(weights + i));
      v128.store(scratch + i, f32x4.mul(v, v128.load(turn + i)));
    }
    transform(scratch, power);
    mix(scratch, width / power, turn + size, scratch + size);
    const target = x + <usize>row * size;
    for (let i: usize = 0; i < size; i += 16) {
      v128.store(target + i, f32x4.add(v128.load(target + i), v128.load(scratch + i)));
    }
  }
}

/** Over the coordinates i * rest + j, i < power, for every j < rest. */
function transform(vector: usize, power: i32): void {
  const rest = width / power;
  if (rest == 1) return hadamard(vector, width, width);
  const end = vector + (<usize>width << 2);
  for (let half = <usize>rest << 2; half < (<usize>width << 2); half <<= 1) {
    for (let block = vector; block < end; block += half << 1) {
      for (let p = block; p < block + half; p += 4) {
        const a = load<f32>(p), b = load<f32>(p + half);
        store<f32>(p, a + b);
        store<f32>(p + half, a - b);
      }
    }
  }
}

/** Each run of `rest` coordinates times the matrix [rest, rest] from the right. */
function mix(vector: usize, rest: i32, matrix: usize, spare: usize): void {
  if (rest == 1) return;
  const run = <usize>rest << 2;
  for (let at = vector; at < vector + (<usize>width << 2); at += run) {
    for (let j: usize = 0; j < run; j += 4) {
      let total: f32 = 0;
      for (let b: usize = 0; b < run; b += 4) total += load<f32>(at + b) * load<f32>(matrix + b * <usize>rest + j);
      store<f32>(spare + j, total);
    }
    memory.copy(at, spare, run);
  }
}
