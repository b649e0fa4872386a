import type { TokenId } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { readSafetensorsIndex, type SafetensorsIndex } from "../safetensors.ts";

const K = LIMITS.topK;
const COLUMNS = LIMITS.latticeHeads;
/** Ids in the tables are below this: more than any vocabulary has. */
const MOST_IDS = 1 << 20;
/** A token that the tables do not have. */
const NO_ROW = -1;
/** Place of a token that is no candidate. */
const OTHER = COLUMNS * K;

type Dtype = "I8" | "I32" | "F32";

/**
 * Which tokens follow one another, as the heads' hidden state will modulate it: the tables of a bundle's
 * pair.safetensors, of R numbers a token. Shared by any number of PairScores.
 */
export class PairTables {
  /** R, a multiple of 4. */
  readonly rank: number;
  /** [rows * rank] of a token that comes first and of one that follows, each times its row's scale. */
  readonly first: Int8Array;
  readonly second: Int8Array;
  /** [rows] */
  readonly firstScales: Float32Array;
  readonly secondScales: Float32Array;
  readonly bias: Float32Array;
  /** [highest id + 1] row of a token, or NO_ROW */
  readonly #rows: Int32Array;

  /** Reads a whole file; tensors of other names are left alone. Throws Error that says what is wrong with it. */
  constructor(bytes: Uint8Array<ArrayBufferLike>) {
    const index = readSafetensorsIndex(bytes, ascii);
    const [count = 0] = index.tensors.get("ids")?.shape ?? [];
    const [, rank = 0] = index.tensors.get("first")?.shape ?? [];
    if (!(rank >= 4 && rank <= LIMITS.pairRank && rank % 4 === 0)) {
      throw new Error(`pair tables of rank ${rank}, not a multiple of 4 up to ${LIMITS.pairRank}`);
    }
    const read = (name: string, dtype: Dtype, ...shape: number[]) => tensorBytes(bytes, index, name, dtype, shape);
    this.rank = rank;
    this.#rows = rowsOf(new Int32Array(read("ids", "I32", count)));
    this.first = new Int8Array(read("first", "I8", count, rank));
    this.second = new Int8Array(read("second", "I8", count, rank));
    this.firstScales = finite("first.scales", new Float32Array(read("first.scales", "F32", count)));
    this.secondScales = finite("second.scales", new Float32Array(read("second.scales", "F32", count)));
    this.bias = finite("bias", new Float32Array(read("bias", "F32", count)));
  }

  /** Row of a token in the tables, or -1. */
  row(token: TokenId): number {
    return token < this.#rows.length ? this.#rows[token]! : NO_ROW;
  }
}

/**
 * How well tokens follow one another in one request: for the query [m; q] of the lattice at hand,
 *   x(a) = (1 + m) * first(a) + q,   S(a, b) = bias(b) + <x(a), second(b)>,
 * where first(a) is 0 for a token that the tables do not have, and so is S for such a b. Source: the path selector of
 * DFlash 2, see docs/algorithm.md. Sums are taken in one order, of IEEE basic operations, so that scores are the same
 * on every machine. Nothing is allocated after construction.
 */
export class PairScores {
  readonly tables: PairTables;
  /** Whether the lattice at hand has a query: without, all scores are 0. */
  active = false;
  /** [rank] 1 + m, q, and x of the token before */
  readonly #gain: Float64Array;
  readonly #shift: Float64Array;
  readonly #x: Float64Array;
  /**
   * [columns * K + 1] of the lattice's candidates, by rank, then of any other token: bias and scale; and `rank` numbers of
   * `second` each, as floats, since they are multiplied many times. All 0 where the tables do not have it.
   */
  readonly #biases = new Float64Array(COLUMNS * K + 1);
  readonly #scales = new Float64Array(COLUMNS * K + 1);
  readonly #seconds: Float64Array;
  /** Candidates of a column. */
  #k = 0;

  constructor(tables: PairTables) {
    this.tables = tables;
    this.#gain = new Float64Array(tables.rank);
    this.#shift = new Float64Array(tables.rank);
    this.#x = new Float64Array(tables.rank);
    this.#seconds = new Float64Array((COLUMNS * K + 1) * tables.rank);
  }

  /** Takes the lattice that is scored from now on. A query that is not of the tables' rank counts as none. */
  begin({ heads, k, tokens, query }: Lattice): void {
    const { rank } = this.tables;
    this.active = query !== null && query.values.length === 2 * rank && query.scales.every(Number.isFinite);
    if (!this.active || query === null) return;
    this.#k = k;
    const [m, q] = query.scales;
    for (let r = 0; r < rank; r++) {
      this.#gain[r] = 1 + m * query.values[r]!;
      this.#shift[r] = q * query.values[rank + r]!;
    }
    for (let i = 0; i < heads; i++) {
      for (let c = 0; c < k; c++) this.#place(i * K + c, this.tables.row(tokens[i * k + c]!));
    }
  }

  /** Scores are those of tokens after `a` from now on. */
  after(a: TokenId): void {
    if (!this.active) return;
    const { first, firstScales, rank } = this.tables;
    const gain = this.#gain;
    const shift = this.#shift;
    const x = this.#x;
    const row = this.tables.row(a);
    if (row === NO_ROW) {
      x.set(shift);
      return;
    }
    const scale = firstScales[row]!;
    for (let r = 0, at = row * rank; r < rank; r++, at++) x[r] = gain[r]! * (scale * first[at]!) + shift[r]!;
  }

  /** S(a, b) */
  score(b: TokenId): number {
    if (!this.active) return 0;
    this.#place(OTHER, this.tables.row(b));
    return this.#scoreOf(OTHER);
  }

  /** S(a, b) of every candidate b of a column of the lattice, by rank, into `out` from `at` on: K numbers. */
  scoreColumn(column: number, out: Float64Array, at: number): void {
    if (!this.active) {
      out.fill(0, at, at + K);
      return;
    }
    const { rank } = this.tables;
    const x = this.#x;
    const seconds = this.#seconds;
    const scales = this.#scales;
    const biases = this.#biases;
    const first = column * K;
    // Two candidates at once, which share what they are multiplied by, each by the sums of #scoreOf.
    for (let c = first; c < first + this.#k; c += 2) {
      let even = 0;
      let odd = 0;
      let nextEven = 0;
      let nextOdd = 0;
      for (let r = 0, i = c * rank, j = i + rank; r < rank; r += 2, i += 2, j += 2) {
        const p = x[r]!;
        const q = x[r + 1]!;
        even += p * seconds[i]!;
        odd += q * seconds[i + 1]!;
        nextEven += p * seconds[j]!;
        nextOdd += q * seconds[j + 1]!;
      }
      out[at + c - first] = biases[c]! + scales[c]! * (even + odd);
      out[at + c - first + 1] = biases[c + 1]! + scales[c + 1]! * (nextEven + nextOdd);
    }
  }

  #scoreOf(candidate: number): number {
    const { rank } = this.tables;
    const x = this.#x;
    const seconds = this.#seconds;
    let even = 0;
    let odd = 0;
    for (let r = 0, at = candidate * rank; r < rank; r += 2, at += 2) {
      even += x[r]! * seconds[at]!;
      odd += x[r + 1]! * seconds[at + 1]!;
    }
    return this.#biases[candidate]! + this.#scales[candidate]! * (even + odd);
  }

  #place(candidate: number, row: number): void {
    const { second, secondScales, bias, rank } = this.tables;
    const seconds = this.#seconds;
    const known = row !== NO_ROW;
    this.#biases[candidate] = known ? bias[row]! : 0;
    this.#scales[candidate] = known ? secondScales[row]! : 0;
    const start = candidate * rank;
    if (known) for (let r = 0; r < rank; r++) seconds[start + r] = second[row * rank + r]!;
    else seconds.fill(0, start, start + rank);
  }
}

/** The header's text: names of tensors and numbers. */
function ascii(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

/** A copy of a tensor's bytes, which may lie anywhere in a file, whereas views of numbers need theirs aligned. */
function tensorBytes(
  bytes: Uint8Array<ArrayBufferLike>,
  { tensors }: SafetensorsIndex,
  name: string,
  dtype: Dtype,
  shape: readonly number[],
): ArrayBuffer {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw new Error(`pair tables without '${name}'`);
  const size = shape.reduce((product, n) => product * n, dtype === "I8" ? 1 : 4);
  if (tensor.dtype !== dtype || tensor.shape.join() !== shape.join() || tensor.byteLength !== size) {
    throw new Error(
      `pair tables: '${name}' is ${tensor.dtype} [${tensor.shape.join(", ")}], not ${dtype} [${shape.join(", ")}]`,
    );
  }
  const from = tensor.byteOffset - bytes.byteOffset;
  return Uint8Array.from(bytes.subarray(from, from + size)).buffer;
}

function finite(name: string, values: Float32Array): Float32Array {
  if (!values.every(Number.isFinite)) throw new Error(`pair tables: '${name}' has a value that is not finite`);
  return values;
}

/** [highest id + 1] place of every id, which must ascend. */
function rowsOf(ids: Int32Array): Int32Array {
  const last = ids.at(-1) ?? -1;
  if (ids.some((id, i) => id < 0 || id >= MOST_IDS || (i > 0 && id <= ids[i - 1]!))) {
    throw new Error(`pair tables: 'ids' do not ascend from 0 to below ${MOST_IDS}`);
  }
  const rows = new Int32Array(last + 1).fill(NO_ROW);
  for (let row = 0; row < ids.length; row++) rows[ids[row]!] = row;
  return rows;
}
