import type { Segment } from "../model.ts";

/** What one run of a base graph over M rows reads beside the past. The arrays are reused by the next run. */
export interface GraphInputs {
  /** M */
  readonly count: number;
  /** [M] */
  readonly tokens: Int32Array;
  /** [M] absolute position of each row. */
  readonly positions: Int32Array;
  /** [R] rows that are wanted; at least one. */
  readonly rows: Int32Array;
  /** [M, capacity + M] additive: 0 where the row may look, MASKED elsewhere. */
  readonly bias: Float32Array;
}

/** Far below any score, and finite: softmax makes it exactly 0. */
export const MASKED = -1e9;

/** Builds inputs in arrays that it keeps. */
export class InputBuilder {
  #ints = new Int32Array(0);
  #floats = new Float32Array(0);

  /** A segment's rows after a past of `length` tokens in `capacity` columns: each sees the past, its ancestors, itself. */
  rows({ tokens, parents, length, wanted }: Segment, capacity: number): GraphInputs {
    const count = tokens.length;
    const inputs = this.#reserve(count, wanted === "all" ? count : 1, capacity);
    const { positions, rows, bias } = inputs;
    inputs.tokens.set(tokens);
    const columns = capacity + count;
    for (let row = 0; row < count; row++) {
      const parent = parents === null ? row - 1 : parents[row]!;
      positions[row] = parent < 0 ? length : positions[parent]! + 1;
      if (wanted === "all") rows[row] = row;
      const start = row * columns;
      bias.fill(0, start, start + length);
      bias.fill(MASKED, start + length, start + columns);
      // A parent's row is complete before its children's, so its ancestors can be taken over.
      const before = parent * columns + capacity;
      if (parent >= 0) bias.copyWithin(start + capacity, before, before + row);
      bias[start + capacity + row] = 0;
    }
    if (wanted !== "all") rows[0] = count - 1;
    return inputs;
  }

  #reserve(count: number, wanted: number, capacity: number): GraphInputs {
    if (this.#ints.length < count * 3) this.#ints = new Int32Array(count * 3);
    const size = count * (capacity + count);
    if (this.#floats.length < size) this.#floats = new Float32Array(size);
    return {
      count,
      tokens: this.#ints.subarray(0, count),
      positions: this.#ints.subarray(count, count * 2),
      rows: this.#ints.subarray(count * 2, count * 2 + wanted),
      bias: this.#floats.subarray(0, size),
    };
  }
}
