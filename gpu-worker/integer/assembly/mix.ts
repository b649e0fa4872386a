import { PAGE, valuesOf } from "./cache";
import { headDim } from "./shape";

/** Pages over which weights times values cannot overflow: 512 * 32767 * 127 < 2^31. */
export const SPAN: i32 = 32;

/** Query vectors taken at a time: four, or three where groups of query heads divide by it. */
@inline
export function tileOf(vectors: i32): i32 {
  return vectors % 3 == 0 ? 3 : 4;
}

/**
 * Sums of weights times values: int32 [vectors][headDim] at `sums`, or, of more pages than a span, float64 at `wide`,
 * which holds such integers exactly.
 */
export function mix(
  layer: i32, head: i32, table: usize, count: i32, vectors: i32, weights: usize, stride: usize, sums: usize,
  wide: usize,
): void {
  const values = valuesOf(layer, head);
  const padded = (vectors + 3) & ~3, tile = tileOf(vectors);
  const bytes = <usize>(padded * headDim) << 2;
  if (count > SPAN) memory.fill(wide, 0, bytes << 1);
  for (let start = 0; start < count; start += SPAN) {
    memory.fill(sums, 0, bytes);
    const end = min(start + SPAN, count);
    // A few pages at a time, so that they are still in the nearest cache for the next vectors.
    for (let from = start; from < end; from += 8) {
      const to = min(from + 8, end);
      for (let i = 0; i < vectors; i += tile) {
        const w = weights + <usize>i * stride + (<usize>from << 5);
        for (let d = 0; d < headDim; d += 8) {
          const v = values + <usize>(d * PAGE), at = sums + (<usize>(i * headDim + d) << 2);
          if (tile == 3) mixTile(v, table, from, to, w, stride, at, false);
          else mixTile(v, table, from, to, w, stride, at, true);
        }
      }
    }
    if (count <= SPAN) return;
    for (let i: usize = 0; i < bytes; i += 16) {
      const v = v128.load(sums + i);
      const at = wide + (i << 1);
      v128.store(at, f64x2.add(v128.load(at), f64x2.convert_low_i32x4_s(v)));
      const high = i32x4.shuffle(v, v, 2, 3, 2, 3);
      v128.store(at, f64x2.add(v128.load(at, 16), f64x2.convert_low_i32x4_s(high)), 16);
    }
  }
}

/** Three or four vectors' weights before eight dimensions of the values on pages [from, to). */
@inline
function mixTile(
  values: usize, table: usize, from: i32, to: i32, w0: usize, stride: usize, sums: usize, four: bool,
): void {
  const row = <usize>headDim << 2;
  let w1 = w0 + stride, w2 = w1 + stride, w3 = w2 + stride;
  let a0 = v128.load(sums), b0 = v128.load(sums, 16);
  let a1 = v128.load(sums + row), b1 = v128.load(sums + row, 16);
  let a2 = v128.load(sums + 2 * row), b2 = v128.load(sums + 2 * row, 16);
  let a3 = i32x4.splat(0), b3 = a3;
  if (four) {
    a3 = v128.load(sums + 3 * row);
    b3 = v128.load(sums + 3 * row, 16);
  }
  for (let p = from; p < to; p++) {
    let v = values + <usize>load<i32>(table + (<usize>p << 2)) * <usize>(PAGE * headDim);
    for (const end = v + 128; v < end; v += 16, w0 += 4, w1 += 4, w2 += 4, w3 += 4) {
      const x = v128.load_ext<i8>(v), y = v128.load_ext<i8>(v, 8);
      let w = v128.load_splat<i32>(w0);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(x, w));
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(y, w));
      w = v128.load_splat<i32>(w1);
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(x, w));
      b1 = i32x4.add(b1, i32x4.dot_i16x8_s(y, w));
      w = v128.load_splat<i32>(w2);
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(x, w));
      b2 = i32x4.add(b2, i32x4.dot_i16x8_s(y, w));
      if (four) {
        w = v128.load_splat<i32>(w3);
        a3 = i32x4.add(a3, i32x4.dot_i16x8_s(x, w));
        b3 = i32x4.add(b3, i32x4.dot_i16x8_s(y, w));
      }
    }
  }
  v128.store(sums, a0);
  v128.store(sums, b0, 16);
  v128.store(sums + row, a1);
  v128.store(sums + row, b1, 16);
  v128.store(sums + 2 * row, a2);
  v128.store(sums + 2 * row, b2, 16);
  if (four) {
    v128.store(sums + 3 * row, a3);
    v128.store(sums + 3 * row, b3, 16);
  }
}

/** One head's result, from int32 sums or, where there are none, from float64 ones. */
export function put(sums: usize, wide: usize, factor: f32, to: usize): void {
  for (let d = 0; d < headDim; d++, to += 4) {
    const total = sums == 0 ? load<f64>(wide + (<usize>d << 3)) : <f64>load<i32>(sums + (<usize>d << 2));
    store<f32>(to, <f32>total * factor);
  }
}
