import { type DraftTree, depths } from "../shared/draft-tree.ts";
import type { TokenId } from "../shared/ids.ts";

/** What one forward pass of M rows reads beside the cache. The arrays are reused by the next pass. */
export interface ForwardInputs {
  /** M */
  readonly count: number;
  /** C */
  readonly capacity: number;
  /** [M] */
  readonly tokens: Int32Array;
  /** [M] absolute position of each row. */
  readonly positions: Int32Array;
  /** [R] rows whose argmax, logits and hidden state are wanted. */
  readonly rows: Int32Array;
  /** [M, C + M] additive: 0 where the row may look, MASKED elsewhere. */
  readonly bias: Float32Array;
}

/** Far below any score, and finite: softmax makes it exactly 0. */
export const MASKED = -1e9;

/** Builds inputs in arrays that it keeps. */
export class InputBuilder {
  #ints = new Int32Array(0);
  #floats = new Float32Array(0);

  /** Consecutive tokens after `length` cached ones; only the last row is wanted (prefill). */
  chain(tokens: Uint32Array, length: number, capacity: number): ForwardInputs {
    const inputs = this.#reserve(tokens.length, 1, capacity);
    inputs.tokens.set(tokens);
    inputs.rows[0] = tokens.length - 1;
    for (let row = 0; row < tokens.length; row++) {
      inputs.positions[row] = length + row;
      const at = maskRow(inputs, row, length);
      inputs.bias.fill(0, at, at + row + 1);
    }
    return inputs;
  }

  /**
   * The root after `length` cached tokens, then the draft's nodes: row i + 1 is node i and sees the past,
   * its ancestors and itself. All rows are wanted (a step).
   */
  tree(root: TokenId, draft: DraftTree, length: number, capacity: number): ForwardInputs {
    const count = draft.tokens.length + 1;
    const inputs = this.#reserve(count, count, capacity);
    const { tokens, positions, rows, bias } = inputs;
    const depth = depths(draft);
    tokens[0] = root;
    tokens.set(draft.tokens, 1);
    for (let row = 0; row < count; row++) {
      rows[row] = row;
      positions[row] = length + (row === 0 ? 0 : depth[row - 1]!);
      const at = maskRow(inputs, row, length);
      if (row > 0) {
        // A parent's row is complete before its children's, so its ancestors can be taken over.
        const parent = draft.parents[row - 1]! + 1;
        const parentAt = parent * (capacity + count) + capacity;
        bias.copyWithin(at, parentAt, parentAt + row);
      }
      bias[at + row] = 0;
    }
    return inputs;
  }

  #reserve(count: number, wanted: number, capacity: number): ForwardInputs {
    if (this.#ints.length < count * 3) this.#ints = new Int32Array(count * 3);
    const size = count * (capacity + count);
    if (this.#floats.length < size) this.#floats = new Float32Array(size);
    return {
      count,
      capacity,
      tokens: this.#ints.subarray(0, count),
      positions: this.#ints.subarray(count, count * 2),
      rows: this.#ints.subarray(count * 2, count * 2 + wanted),
      bias: this.#floats.subarray(0, size),
    };
  }
}

/** Opens the past to `row` and closes the rest; returns where the new rows' columns begin. */
function maskRow({ bias, count, capacity }: ForwardInputs, row: number, length: number): number {
  const start = row * (capacity + count);
  bias.fill(0, start, start + length);
  bias.fill(MASKED, start + length, start + capacity + count);
  return start + capacity;
}
