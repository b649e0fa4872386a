import { assert } from "../shared/assert.ts";
import type { TokenId } from "../shared/ids.ts";
import { createLattice, type Lattice } from "../shared/lattice.ts";
import type { CopyHeads } from "../shared/manifest.ts";
import type { HeadsOutput } from "./model.ts";

/** Matches are not told apart beyond this length. */
export const LONGEST_MATCH = 8;
/** Sources looked at: the longest matches, the newest of equal ones. */
const SOURCES = 16;

/** The committed text of one session, searchable for earlier occurrences of its end. */
export class CopySources {
  /** Sources of the newest token found by `find`, best first. */
  count = 0;
  /** [SOURCES] index of a token equal to the newest one. */
  readonly at = new Int32Array(SOURCES);
  /** [SOURCES] equal tokens backwards from there, 1..LONGEST_MATCH. */
  readonly match = new Uint8Array(SOURCES);

  #text = new Int32Array(256);
  /** Index of the same token's previous occurrence, or -1. */
  #previous = new Int32Array(256);
  readonly #newest = new Map<TokenId, number>();
  length = 0;

  push(token: TokenId): void {
    if (this.length === this.#text.length) {
      this.#text = widened(this.#text);
      this.#previous = widened(this.#previous);
    }
    this.#text[this.length] = token;
    this.#previous[this.length] = this.#newest.get(token) ?? -1;
    this.#newest.set(token, this.length++);
  }

  /** Finds the sources of the newest token. */
  find(): void {
    const n = this.length - 1;
    const byLength: number[][] = Array.from({ length: LONGEST_MATCH + 1 }, () => []);
    for (let e = n < 0 ? -1 : this.#previous[n]!; e >= 0; e = this.#previous[e]!) {
      const bucket = byLength[this.#matchAt(e, n)]!;
      if (bucket.length < SOURCES) bucket.push(e);
      if (byLength[LONGEST_MATCH]!.length === SOURCES) break;
    }
    this.count = 0;
    for (let length = LONGEST_MATCH; length > 0; length--) {
      for (const e of byLength[length]!) {
        if (this.count === SOURCES) return;
        this.at[this.count] = e;
        this.match[this.count++] = length;
      }
    }
  }

  /** What source `s` proposes for the token `ahead` (1, 2, ...) after the newest; periodic beyond the text's end. */
  proposal(s: number, ahead: number): TokenId {
    const n = this.length - 1;
    const period = n - this.at[s]!;
    let index = this.at[s]! + ahead;
    if (index > n) index -= Math.ceil((index - n) / period) * period;
    return this.#text[index]!;
  }

  /** Tokens between source `s` and the newest token. */
  age(s: number): number {
    return this.length - 1 - this.at[s]!;
  }

  #matchAt(e: number, n: number): number {
    let length = 1;
    while (length < LONGEST_MATCH && e >= length && this.#text[e - length] === this.#text[n - length]) length++;
    return length;
  }
}

/**
 * The lattice with copies mixed in: p_j(w) = (1 - g_j) p_head_j(w) + g_j c_j(w), the likeliest k of each row, and its
 * gates g_j, 0 without a source. A copied token that the row does not list is taken to have no probability under the head.
 * @param gate [heads] the draft heads' part of the gates, before the sigmoid
 */
export function mixCopies(lattice: Lattice, gate: Float32Array, sources: CopySources, params: CopyHeads): Lattice {
  const { heads, k } = lattice;
  const gates = new Float32Array(heads);
  if (sources.count === 0) return createLattice(heads, k, lattice.tokens, lattice.logProbs, lattice.query, gates);
  const tokens = new Uint32Array(heads * k);
  const logProbs = new Float32Array(heads * k);
  for (let j = 0; j < heads; j++) {
    const copied = copyDistribution(j, sources, params);
    const agree = Math.max(...copied.values());
    const score = gate[j]! + params.gateMatch[j]![sources.match[0]!]! + params.gateAgree[j]! * agree;
    const share = 1 / (1 + Math.exp(-score));
    gates[j] = share;
    const row: [TokenId, number][] = [];
    for (let r = j * k; r < (j + 1) * k; r++) {
      const token = lattice.tokens[r]!;
      row.push([token, (1 - share) * Math.exp(lattice.logProbs[r]!) + share * (copied.get(token) ?? 0)]);
      copied.delete(token);
    }
    for (const [token, p] of copied) row.push([token, share * p]);
    row.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    for (let r = 0; r < k; r++) {
      tokens[j * k + r] = row[r]![0];
      logProbs[j * k + r] = Math.min(0, Math.log(row[r]![1]));
    }
  }
  return createLattice(heads, k, tokens, logProbs, lattice.query, gates);
}

/** The lattice of what the heads have put out, copies of the newest token's sources mixed in where the heads copy. */
export function withCopies(
  { lattice, gate }: Pick<HeadsOutput, "lattice" | "gate">,
  sources: CopySources | null,
  params: CopyHeads | null,
): Lattice {
  if (gate === null || params === null || sources === null) return lattice;
  sources.find();
  return mixCopies(lattice, gate, sources, params);
}

/**
 * [heads * k] what copies contribute to each candidate's probability in a lattice of `mixCopies`, g_j c_j(w): a function of
 * the committed text and the lattice alone, so that a recorded lattice gives what the live one gave. Zeros for heads that do not copy.
 */
export function copiedMasses(
  { heads, k, tokens, gates }: Lattice,
  sources: CopySources | null,
  params: CopyHeads | null,
): Float32Array {
  const masses = new Float32Array(heads * k);
  if (sources === null || params === null || sources.count === 0) return masses;
  assert(gates != null, "the gates of heads that copy");
  for (let j = 0; j < heads; j++) {
    const copied = copyDistribution(j, sources, params);
    for (let r = j * k; r < (j + 1) * k; r++) masses[r] = gates[j]! * (copied.get(tokens[r]!) ?? 0);
  }
  return masses;
}

/** c_j: what the sources propose for row j, with probabilities. */
function copyDistribution(j: number, sources: CopySources, params: CopyHeads): Map<TokenId, number> {
  const scores: number[] = [];
  for (let s = 0; s < sources.count; s++) {
    scores.push(params.match[j]![sources.match[s]!]! + params.age[j]! * Math.log(sources.age(s)));
  }
  const top = Math.max(...scores);
  const total = scores.reduce((sum, score) => sum + Math.exp(score - top), 0);
  const copied = new Map<TokenId, number>();
  for (const [s, score] of scores.entries()) {
    const token = sources.proposal(s, j + 1);
    copied.set(token, (copied.get(token) ?? 0) + Math.exp(score - top) / total);
  }
  return copied;
}

function widened(array: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * array.length);
  larger.set(array);
  return larger;
}
