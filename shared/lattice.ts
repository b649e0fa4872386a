import { assert } from "./assert.ts";

/**
 * What the hidden state makes of which candidates follow one another (rescore/pair-scores.ts): m and q of
 * S(a, b) = bias(b) + <(1 + m) * first(a) + q, second(b)>.
 */
export interface PairQuery {
  /** [2 rank] m, then q, each divided by its scale. */
  readonly values: Int8Array;
  readonly scales: readonly [m: number, q: number];
}

/**
 * m and q as the hidden state gives them, [2 rank], in eight bits. Its scales are floats of 32 bits, as on the wire, so that replaying a
 * recorded lattice gives what the live one gave.
 */
export function pairQuery(floats: Float32Array): PairQuery {
  const rank = floats.length / 2;
  const values = new Int8Array(2 * rank);
  const quantise = (from: number) => {
    const half = floats.subarray(from, from + rank);
    const step = Math.fround(half.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127);
    const scale = step > 0 ? step : 1;
    for (const [i, value] of half.entries()) values[from + i] = Math.round(value / scale);
    return scale;
  };
  return { values, scales: [quantise(0), quantise(rank)] };
}

/**
 * The draft heads' candidates for the positions after the bonus token. Row i (0-based) is head i + 2:
 * the i-th token after the bonus token. Within a row candidates fall in log-probability; equal ones
 * rise in token id. Rows are independent of one another: that is what refinement repairs.
 */
export interface Lattice {
  readonly heads: number;
  readonly k: number;
  /** [heads * k] token ids, row by row. */
  readonly tokens: Uint32Array;
  /** [heads * k] natural-log probabilities, row by row. */
  readonly logProbs: Float32Array;
  /** null: not asked for, or the model has none. */
  readonly query: PairQuery | null;
  /** [heads] share of each row that copies make up (gpu-worker/copy-heads.ts), for traces; not on the wire. null: the heads do not copy. */
  readonly gates?: Float32Array | null;
}

export function createLattice(
  heads: number,
  k: number,
  tokens: Uint32Array,
  logProbs: Float32Array,
  query: PairQuery | null = null,
  gates: Float32Array | null = null,
): Lattice {
  assert(tokens.length === heads * k && logProbs.length === heads * k, `lattice of ${heads} x ${k}`);
  assert(gates === null || gates.length === heads, "a gate for each row");
  return { heads, k, tokens, logProbs, query, gates };
}

export const EMPTY_LATTICE: Lattice = createLattice(0, 0, new Uint32Array(0), new Float32Array(0));

/** Without its first rows. */
export function laterRows({ heads, k, tokens, logProbs, query, gates }: Lattice, first: number): Lattice {
  const from = Math.min(first, heads);
  const [later, p] = [tokens.subarray(from * k), logProbs.subarray(from * k)];
  return createLattice(heads - from, k, later, p, query, gates?.subarray(from));
}

/** The first `heads` rows and `k` columns. */
export function narrowLattice(lattice: Lattice, heads: number, k: number): Lattice {
  const h = Math.min(heads, lattice.heads);
  const w = Math.min(k, lattice.k);
  if (h === lattice.heads && w === lattice.k) return lattice;
  const tokens = new Uint32Array(h * w);
  const logProbs = new Float32Array(h * w);
  for (let i = 0; i < h; i++) {
    const from = i * lattice.k;
    tokens.set(lattice.tokens.subarray(from, from + w), i * w);
    logProbs.set(lattice.logProbs.subarray(from, from + w), i * w);
  }
  return createLattice(h, w, tokens, logProbs, lattice.query, lattice.gates?.slice(0, h));
}
