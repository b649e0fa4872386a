import { largest, nearest } from "./math";

/*
 * Matrix products of bytes: what goes into them, and what comes out, int32 sums that stand for
 *
 *   (sums[r, n] - offsets[n]) * columnScales[n] * rowScales[r]
 *
 * where offsets take the 128 out again that an activation's byte has too much. Each thread multiplies by a shard of
 * the columns: `starts` [shards + 1] says where each begins, and a shard's sums, [rows, its columns], follow those of
 * the shards before it.
 */

const BYTE_ZERO: u8 = 128;
const WORDS = memory.data<i16>([128, 128, 128, 128, 128, 128, 128, 128], 16);

@inline
export function product(sums: usize, offsets: usize, columnScales: usize, rowScale: v128): v128 {
  const exact = i32x4.sub(v128.load(sums), v128.load(offsets));
  return f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(exact), v128.load(columnScales)), rowScale);
}

/** Where the sums of a row lie for a shard of columns [c, next). */
@inline
export function shard(sums: usize, rows: i32, row: i32, c: i32, next: i32): usize {
  return sums + (<usize>(rows * c + row * (next - c)) << 2);
}

/** Writes `count` floats as bytes around 128, the largest of them as 127 away; returns what one step is worth. */
@inline
export function toBytes(from: usize, count: i32, to: usize, most: f32): f32 {
  if (most == 0) {
    memory.fill(to, BYTE_ZERO, count);
    return 0;
  }
  const scale = f32x4.splat(<f32>127 / most);
  for (let i = 0; i < count; i += 8, from += 32, to += 8) {
    const low = nearest(f32x4.mul(v128.load(from), scale)), high = nearest(f32x4.mul(v128.load(from, 16), scale));
    const shifted = i16x8.add(i16x8.narrow_i32x4_s(low, high), v128.load(WORDS));
    v128.store64_lane(to, i8x16.narrow_i16x8_u(shifted, shifted), 0);
  }
  return most / 127;
}

/** The same as int16 around 0, the largest of them as `steps`, at most 32767. */
@inline
export function toWords(from: usize, count: i32, to: usize, most: f32, steps: f32): f32 {
  if (most == 0) {
    memory.fill(to, 0, count << 1);
    return 0;
  }
  const scale = f32x4.splat(steps / most);
  for (let i = 0; i < count; i += 8, from += 32, to += 16) {
    const low = nearest(f32x4.mul(v128.load(from), scale)), high = nearest(f32x4.mul(v128.load(from, 16), scale));
    v128.store(to, i16x8.narrow_i32x4_s(low, high));
  }
  return most / steps;
}

@inline
export function largestOf(from: usize, count: i32): f32 {
  let most = f32x4.splat(0);
  for (let p = from; p < from + (<usize>count << 2); p += 16) most = f32x4.pmax(most, f32x4.abs(v128.load(p)));
  return largest(most);
}
