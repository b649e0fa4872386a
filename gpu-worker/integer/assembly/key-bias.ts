import { sum } from "./math";
import { context, headDim, heads, kvHeads } from "./shape";

/*
 * A bias of keys that the cache does not hold, as it may be many times what it does: with b, R(p) the rotation of a
 * position and q a query that is rotated already, q . R(p) b is the sum over i < headDim / 2 of
 *
 *   cos_i (q_i b_i + q_j b_j) + sin_i (q_j b_i - q_i b_j),  j = i + headDim / 2
 *
 * whose brackets are the query's terms.
 */

/** The terms of a query, times `scale`. */
export function biasTerms(query: usize, bias: usize, scale: f32, terms: usize): void {
  const half = <usize>headDim << 1, by = f32x4.splat(scale);
  for (let i: usize = 0; i < half; i += 16) {
    const a = v128.load(query + i), b = v128.load(query + half + i);
    const c = v128.load(bias + i), d = v128.load(bias + half + i);
    v128.store(terms + i, f32x4.mul(by, f32x4.add(f32x4.mul(a, c), f32x4.mul(b, d))));
    v128.store(terms + half + i, f32x4.mul(by, f32x4.sub(f32x4.mul(b, c), f32x4.mul(a, d))));
  }
}

/**
 * Adds to scores [vectors][stride / 4] what the keys' bias contributes, exact however large it is. Slots [0, visible)
 * hold the tokens of the positions from `skipped` on, those up to `total` the tokens of the positions at `fresh`.
 */
export function addTerms(
  terms: usize, vectors: i32, scores: usize, stride: usize, skipped: i32, visible: i32, total: i32, fresh: usize,
  angles: usize,
): void {
  let slot = 0;
  for (; slot + 4 <= visible; slot += 4) {
    const at = anglesOf(angles, slot + skipped);
    for (let i = 0; i < vectors; i++) addFour(termsOf(terms, i), at, scores + <usize>i * stride + (<usize>slot << 2));
  }
  for (; slot < total; slot++) {
    const position = slot < visible ? slot + skipped : load<i32>(fresh + (<usize>(slot - visible) << 2));
    const at = anglesOf(angles, position);
    for (let i = 0; i < vectors; i++) addOne(termsOf(terms, i), at, scores + <usize>i * stride + (<usize>slot << 2));
  }
}

@inline
function anglesOf(angles: usize, position: i32): usize {
  return angles + <usize>position * (<usize>headDim << 1);
}

/** Of the `i`-th query vector of a run of rows. */
@inline
function termsOf(terms: usize, i: i32): usize {
  const group = heads / kvHeads;
  return terms + (<usize>(((i / group) * heads + (i % group)) * headDim) << 2);
}

@inline
function addOne(terms: usize, cosines: usize, to: usize): void {
  const half = <usize>headDim << 1, across = <usize>context * half;
  let sums = f32x4.splat(0);
  for (let d: usize = 0; d < half; d += 16) {
    sums = f32x4.add(sums, term(v128.load(terms + d), v128.load(terms + half + d), cosines + d, across));
  }
  store<f32>(to, load<f32>(to) + sum(sums));
}

/** The same of four positions in a row, to the bit. */
@inline
function addFour(terms: usize, cosines: usize, to: usize): void {
  const half = <usize>headDim << 1, across = <usize>context * half;
  let a = f32x4.splat(0), b = a, c = a, d = a;
  for (let i: usize = 0; i < half; i += 16) {
    const t = v128.load(terms + i), u = v128.load(terms + half + i), at = cosines + i;
    a = f32x4.add(a, term(t, u, at, across));
    b = f32x4.add(b, term(t, u, at + half, across));
    c = f32x4.add(c, term(t, u, at + 2 * half, across));
    d = f32x4.add(d, term(t, u, at + 3 * half, across));
  }
  // Lanes to vectors, which are summed in the order of `sum`.
  const lowAB = i32x4.shuffle(a, b, 0, 4, 1, 5), highAB = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const lowCD = i32x4.shuffle(c, d, 0, 4, 1, 5), highCD = i32x4.shuffle(c, d, 2, 6, 3, 7);
  const first = f32x4.add(i64x2.shuffle(lowAB, lowCD, 0, 2), i64x2.shuffle(lowAB, lowCD, 1, 3));
  const second = f32x4.add(i64x2.shuffle(highAB, highCD, 0, 2), i64x2.shuffle(highAB, highCD, 1, 3));
  v128.store(to, f32x4.add(v128.load(to), f32x4.add(first, second)));
}

@inline
function term(t: v128, u: v128, cosines: usize, across: usize): v128 {
  return f32x4.add(f32x4.mul(t, v128.load(cosines)), f32x4.mul(u, v128.load(cosines + across)));
}
