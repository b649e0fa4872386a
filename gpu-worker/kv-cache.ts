import { assert } from "../shared/assert.ts";
import { StepError } from "../shared/errors.ts";

export interface KvShape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Whether values are kept in float64: the graph sums attention in double precision. */
  readonly wideValues: boolean;
}

/** The past of one session at one capacity; replaced as a whole when the cache grows. */
export interface KvBuffers {
  /** C: columns per layer, used or not. */
  readonly capacity: number;
  /** [layers], each [kvHeads, capacity, headDim]; K after rotary embedding. */
  readonly keys: readonly Float32Array[];
  readonly values: readonly (Float32Array | Float64Array)[];
  readonly bytes: number;
}

/**
 * Columns kept for `length` rows. Every column costs time in each step, used or not, and every change of
 * capacity costs a copy, so the granularity is an eighth to a half of the length, at least 64.
 */
export function capacityFor(length: number): number {
  const unit = length <= 256 ? 64 : length <= 1024 ? 128 : length <= 2048 ? 256 : 512;
  return Math.max(1, Math.ceil(length / unit)) * unit;
}

/** Bytes that all caches together may take; beyond it a session is told "overloaded". */
export class KvBudget {
  readonly #limitBytes: number;
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  take(bytes: number): void {
    if (this.#usedBytes + bytes > this.#limitBytes) {
      throw new StepError("overloaded", "The engine's memory for contexts is full.");
    }
    this.#usedBytes += bytes;
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}

/** Keys and values of a session's committed tokens. Drafted rows are appended only once accepted. */
export class KvCache {
  readonly #shape: KvShape;
  readonly #budget: KvBudget;
  #buffers: KvBuffers;
  #length = 0;

  constructor(shape: KvShape, budget: KvBudget) {
    this.#shape = shape;
    this.#budget = budget;
    this.#buffers = this.#allocate(capacityFor(0));
  }

  /** Rows held: the committed tokens that went through the model. */
  get length(): number {
    return this.#length;
  }

  get buffers(): KvBuffers {
    return this.#buffers;
  }

  /**
   * Appends rows of a forward pass.
   * @param newKv [layers, 2, kvHeads, total, headDim]
   * @param rows indices in [0, total), rising: the path in order
   */
  append(newKv: Float32Array, total: number, rows: readonly number[]): void {
    const { layers, kvHeads, headDim } = this.#shape;
    assert(newKv.length === layers * 2 * kvHeads * total * headDim, "new_kv has its shape");
    if (this.#length + rows.length > this.#buffers.capacity) this.#grow(this.#length + rows.length);
    const { capacity, keys, values } = this.#buffers;
    const runs = contiguous(rows);
    for (let layer = 0; layer < layers; layer++) {
      for (let part = 0; part < 2; part++) {
        const target = (part === 0 ? keys : values)[layer]!;
        for (let head = 0; head < kvHeads; head++) {
          const source = ((layer * 2 + part) * kvHeads + head) * total;
          let column = head * capacity + this.#length;
          for (const [first, count] of runs) {
            const from = (source + first) * headDim;
            target.set(newKv.subarray(from, from + count * headDim), column * headDim);
            column += count;
          }
        }
      }
    }
    this.#length += rows.length;
  }

  release(): void {
    this.#budget.give(this.#buffers.bytes);
    this.#buffers = { capacity: 0, keys: [], values: [], bytes: 0 };
  }

  #grow(length: number): void {
    const { kvHeads, headDim } = this.#shape;
    const old = this.#buffers;
    const next = this.#allocate(capacityFor(length));
    const used = this.#length * headDim;
    for (const part of ["keys", "values"] as const) {
      for (const [layer, target] of next[part].entries()) {
        const source = old[part][layer]!;
        for (let head = 0; head < kvHeads; head++) {
          const from = head * old.capacity * headDim;
          target.set(source.subarray(from, from + used), head * next.capacity * headDim);
        }
      }
    }
    this.#buffers = next;
    this.#budget.give(old.bytes);
  }

  /** Zeros: unused columns are masked out, but 0 x NaN would not be 0. */
  #allocate(capacity: number): KvBuffers {
    const { layers, kvHeads, headDim, wideValues } = this.#shape;
    const Values = wideValues ? Float64Array : Float32Array;
    const size = kvHeads * capacity * headDim;
    const bytes = layers * size * (Float32Array.BYTES_PER_ELEMENT + Values.BYTES_PER_ELEMENT);
    this.#budget.take(bytes);
    const keys = Array.from({ length: layers }, () => new Float32Array(size));
    const values = Array.from({ length: layers }, () => new Values(size));
    return { capacity, keys, values, bytes };
  }
}

/** [first, count] of each run of consecutive indices. */
function contiguous(rows: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const row of rows) {
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] === row) last[1]++;
    else runs.push([row, 1]);
  }
  return runs;
}
