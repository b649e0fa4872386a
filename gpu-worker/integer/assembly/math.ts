/*
 * Constants live in memory: V8 builds a vector constant anew at every use, which costs more than loading it.
 * Every function is made of IEEE basic operations, so results are the same bits on every machine.
 */

const TABLE = memory.data<f32>([
  // 2^r on [-1/2, 1/2], by powers of r; least largest relative error, 3e-6.
  1, 1, 1, 1,
  0.69312419, 0.69312419, 0.69312419, 0.69312419,
  0.24024099, 0.24024099, 0.24024099, 0.24024099,
  0.05590643, 0.05590643, 0.05590643, 0.05590643,
  0.00958285, 0.00958285, 0.00958285, 0.00958285,
  // 1.5 x 2^23: adding it rounds a float of less than 2^22 to the nearest integer, which its bits then hold.
  12582912, 12582912, 12582912, 12582912,
  // The least exponent of 2 that a softmax tells from nothing.
  -30, -30, -30, -30,
  // Exponents that silu and likelihoods keep to, and what makes them of a logit's negative.
  -126, -126, -126, -126,
  126, 126, 126, 126,
  -1.442695, -1.442695, -1.442695, -1.442695,
  // Signs of the first two steps of a Hadamard transform.
  0, -0.0, 0, -0.0,
  0, 0, -0.0, -0.0,
  // Of gelu, approximated by tanh: the exponent of 2 is x (a + b x^2). Then what tanh's exponent is of x, and 2.
  -2.3022082, -2.3022082, -2.3022082, -2.3022082,
  -0.10294324, -0.10294324, -0.10294324, -0.10294324,
  2.8853901, 2.8853901, 2.8853901, 2.8853901,
  2, 2, 2, 2,
], 16);

@inline
function constant(index: usize): v128 {
  return v128.load(TABLE + (index << 4));
}

/** Of the polynomial that is 2^r, by power. */
@inline
export function coefficient(power: usize): v128 {
  return constant(power);
}

@inline
export function magic(): v128 {
  return constant(5);
}

@inline
export function leastExponent(): v128 {
  return constant(6);
}

/** The nearest integers (ties to even) of floats below 2^22 in size. */
@inline
export function nearest(x: v128): v128 {
  return i32x4.sub(f32x4.add(x, magic()), magic());
}

/** `value` times 2 to the integer that `shifted`, which has the magic number added, holds. */
@inline
export function scaleBy(value: v128, shifted: v128): v128 {
  return i32x4.add(value, i32x4.shl(shifted, 23));
}

/** 2^t, for exponents of at most 126 in size. */
@inline
export function power(t: v128): v128 {
  const shifted = f32x4.add(t, magic());
  const r = f32x4.sub(t, f32x4.sub(shifted, magic()));
  let p = f32x4.add(f32x4.mul(coefficient(4), r), coefficient(3));
  p = f32x4.add(f32x4.mul(p, r), coefficient(2));
  p = f32x4.add(f32x4.mul(p, r), coefficient(1));
  p = f32x4.add(f32x4.mul(p, r), coefficient(0));
  return scaleBy(p, shifted);
}

/** x * sigmoid(x). */
@inline
export function silu(x: v128): v128 {
  const t = f32x4.pmin(constant(8), f32x4.pmax(constant(7), f32x4.mul(x, constant(9))));
  return f32x4.div(x, f32x4.add(coefficient(0), power(t)));
}

/** x * sigmoid(1.5957691 (x + 0.044715 x^3)) */
@inline
export function gelu(x: v128): v128 {
  const exponent = f32x4.mul(x, f32x4.add(constant(12), f32x4.mul(constant(13), f32x4.mul(x, x))));
  const t = f32x4.pmin(constant(8), f32x4.pmax(constant(7), exponent));
  return f32x4.div(x, f32x4.add(coefficient(0), power(t)));
}

/** cap * tanh(x / cap), of which the inverse is given, too. */
@inline
export function capped(x: v128, cap: v128, inverse: v128): v128 {
  const exponent = f32x4.mul(f32x4.mul(x, inverse), constant(14));
  const t = f32x4.pmin(constant(8), f32x4.pmax(constant(7), exponent));
  const below = f32x4.div(constant(15), f32x4.add(coefficient(0), power(t)));
  return f32x4.mul(cap, f32x4.sub(coefficient(0), below));
}

/** e^(x - most), where x is not above `most`; what is smaller than 2^-126 as that. */
@inline
export function likelihood(x: v128, most: v128): v128 {
  return power(f32x4.pmax(constant(7), f32x4.mul(f32x4.sub(most, x), constant(9))));
}

@inline
export function largest(v: v128): f32 {
  const low = max(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1));
  return max(low, max(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)));
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
    const first = f32x4.add(v128.xor(v, constant(10)), swapped);
    const far = i32x4.shuffle(first, first, 2, 3, 0, 1);
    v128.store(p, f32x4.add(v128.xor(first, constant(11)), far));
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
