/*
 * Constants live in memory: V8 builds a vector constant anew at every use, which costs more than loading it.
 * Every function is made of IEEE basic operations, so results are the same bits on every machine.
 */

/** 1.5 x 2^23: adding it rounds a float of less than 2^22 to the nearest integer, which its bits then hold. */
export const MAGIC_BITS: i32 = 0x4b400000;

const TABLE = memory.data<f32>([
  12582912, 12582912, 12582912, 12582912,
  // 2^r on [-1/2, 1/2], from the fifth power of r down; least largest relative error, 9e-8.
  0.00132647, 0.00132647, 0.00132647, 0.00132647,
  0.00967151, 0.00967151, 0.00967151, 0.00967151,
  0.05550734, 0.05550734, 0.05550734, 0.05550734,
  0.24022242, 0.24022242, 0.24022242, 0.24022242,
  0.69314698, 0.69314698, 0.69314698, 0.69314698,
  1, 1, 1, 1,
  // Exponents of 2 below this give 0 (`exp2Zero`), or stop falling (`exp2Clamped`).
  -30, -30, -30, -30,
  -126, -126, -126, -126,
  126, 126, 126, 126,
  -1.442695, -1.442695, -1.442695, -1.442695,
], 16);

@inline
function constant(index: usize): v128 {
  return v128.load(TABLE + (index << 4));
}

@inline
export function magic(): v128 {
  return constant(0);
}

@inline
export function one(): v128 {
  return constant(6);
}

/** The nearest integers (ties to even) of floats below 2^22 in size. */
@inline
export function nearest(x: v128): v128 {
  return i32x4.sub(f32x4.add(x, magic()), i32x4.splat(MAGIC_BITS));
}

/** 2^x for x in [-126, 126]. */
@inline
function exp2(x: v128): v128 {
  const shifted = f32x4.add(x, magic());
  const r = f32x4.sub(x, f32x4.sub(shifted, magic()));
  let p = f32x4.add(f32x4.mul(constant(1), r), constant(2));
  p = f32x4.add(f32x4.mul(p, r), constant(3));
  p = f32x4.add(f32x4.mul(p, r), constant(4));
  p = f32x4.add(f32x4.mul(p, r), constant(5));
  p = f32x4.add(f32x4.mul(p, r), constant(6));
  return i32x4.add(p, i32x4.shl(shifted, 23));
}

/** 2^x for x <= 0, exactly 0 below -30: what is so unlikely, or masked, has no weight at all. */
@inline
export function exp2Zero(x: v128): v128 {
  const least = constant(7);
  return v128.and(exp2(f32x4.pmax(least, x)), f32x4.gt(x, least));
}

/** x * sigmoid(x). */
@inline
export function silu(x: v128): v128 {
  const t = f32x4.pmin(constant(9), f32x4.pmax(constant(8), f32x4.mul(x, constant(10))));
  return f32x4.div(x, f32x4.add(one(), exp2(t)));
}

@inline
export function largest(v: v128): f32 {
  return max(max(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)), max(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)));
}

/** Sum of the lanes, in one fixed order. */
@inline
export function sum(v: v128): f32 {
  return f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3));
}

/**
 * Walsh-Hadamard transform, not normalised, of each block of `size` floats (a power of two, at least 4) in
 * [at, at + count * 4).
 */
export function hadamard(at: usize, count: i32, size: i32): void {
  const end = at + (<usize>count << 2);
  for (let p = at; p < end; p += 16) {
    const v = v128.load(p);
    // Within four: (a + b, a - b, c + d, c - d), then pairs.
    const swapped = i32x4.shuffle(v, v, 1, 0, 3, 2);
    const first = f32x4.add(v128.xor(v, i32x4(0, 0x80000000, 0, 0x80000000)), swapped);
    const far = i32x4.shuffle(first, first, 2, 3, 0, 1);
    v128.store(p, f32x4.add(v128.xor(first, i32x4(0, 0, 0x80000000, 0x80000000)), far));
  }
  for (let half: usize = 16; half < (<usize>size << 2); half <<= 1) {
    for (let block = at; block < end; block += half << 1) {
      for (let p = block; p < block + half; p += 16) {
        const a = v128.load(p), b = v128.load(p + half);
        v128.store(p, f32x4.add(a, b));
        v128.store(p + half, f32x4.sub(a, b));
      }
    }
  }
}
