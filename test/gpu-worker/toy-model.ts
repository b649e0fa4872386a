import type { ForwardInputs } from "../../gpu-worker/inputs.ts";
import type { KvBuffers } from "../../gpu-worker/kv-cache.ts";
import type { Forward, HeadsOutput, Model, ModelShape, Wanted } from "../../gpu-worker/model.ts";
import { assert } from "../../shared/assert.ts";
import { createLattice, type Lattice } from "../../shared/lattice.ts";

export const TOY_SHAPE: ModelShape = {
  layers: 2,
  kvHeads: 2,
  headDim: 3,
  wideValues: false,
  vocabSize: 16,
  hiddenWidth: 2,
  contextTokens: 600,
  latticeHeads: 3,
  topK: 4,
  copyHeads: null,
};

/**
 * A model whose every layer and head stores (token, position) and whose output is a hash of all that a row may
 * see. It fails where a row sees anything but each position up to its own, once: a wrong mask, a wrong cache row or
 * a wrong column shows at once.
 */
export class ToyModel implements Model {
  readonly shape: ModelShape;
  readonly calls: { rows: number; wanted: Wanted }[] = [];
  headsCalls = 0;
  /** Awaited inside each forward pass. */
  before: () => Promise<void> = async () => undefined;

  constructor(changes: Partial<ModelShape> = {}) {
    this.shape = { ...TOY_SHAPE, ...changes };
  }

  async forward(inputs: ForwardInputs, past: KvBuffers, wanted: Wanted): Promise<Forward> {
    await this.before();
    this.calls.push({ rows: inputs.count, wanted });
    const { vocabSize } = this.shape;
    const hashes = Array.from(inputs.rows, (row) => this.#seen(inputs, past, row));
    const logits = hashes.map((hash) => toyLogits(hash, vocabSize));
    return {
      argmax: Int32Array.from(logits, (row) => row.indexOf(Math.max(...row))),
      logits: wanted.logits ? Float32Array.from(logits.flat()) : null,
      hidden: wanted.hidden ? Float32Array.from(hashes.flatMap((hash) => [hash & 0xffff, hash >>> 16])) : null,
      newKv: this.#newKv(inputs),
    };
  }

  async heads(hidden: Float32Array, bonus: number): Promise<HeadsOutput> {
    this.headsCalls++;
    const hash = (hidden[0]! | (hidden[1]! << 16)) >>> 0;
    const gate = this.shape.copyHeads === null ? null : new Float32Array(this.shape.latticeHeads);
    return { lattice: toyLattice(hash, bonus, this.shape), gate };
  }

  async release(): Promise<void> {}

  #seen({ count, capacity, tokens, positions, bias }: ForwardInputs, past: KvBuffers, row: number): number {
    assert(past.capacity === capacity, "inputs and cache agree on the capacity");
    const seen: [number, number][] = [];
    for (let column = 0; column < capacity + count; column++) {
      const open = bias[row * (capacity + count) + column]!;
      if (open !== 0) assert(open < -1e8, "a closed column is far below any score");
      else if (column >= capacity) seen.push([tokens[column - capacity]!, positions[column - capacity]!]);
      else seen.push(this.#cached(past, column));
    }
    seen.sort((a, b) => a[1] - b[1]);
    const complete = seen.length === positions[row]! + 1 && seen.every(([, position], i) => position === i);
    assert(complete, `row ${row} sees each position once, not ${seen.map(([, position]) => position)}`);
    return toyHash(seen.map(([token]) => token));
  }

  /** The same in every layer and head, else the cache is wrong. */
  #cached(past: KvBuffers, column: number): [number, number] {
    const { layers, kvHeads, headDim } = this.shape;
    const token = past.keys[0]![column * headDim]!;
    const position = past.values[0]![column * headDim]!;
    for (let layer = 0; layer < layers; layer++) {
      for (let head = 0; head < kvHeads; head++) {
        const at = (head * past.capacity + column) * headDim;
        for (let i = 0; i < headDim; i++) {
          const tag = layer * 10 + head + i;
          const same = past.keys[layer]![at + i] === token + tag && past.values[layer]![at + i] === position + tag;
          assert(same, `layer ${layer}, head ${head} hold what layer 0 holds in column ${column}`);
        }
      }
    }
    return [token, position];
  }

  #newKv({ count, tokens, positions }: ForwardInputs): Float32Array {
    const { layers, kvHeads, headDim } = this.shape;
    const out: number[] = [];
    for (let layer = 0; layer < layers; layer++) {
      for (const content of [tokens, positions]) {
        for (let head = 0; head < kvHeads; head++) {
          for (let row = 0; row < count; row++) {
            for (let i = 0; i < headDim; i++) out.push(content[row]! + layer * 10 + head + i);
          }
        }
      }
    }
    return Float32Array.from(out);
  }
}

export function toyHash(tokens: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (const token of tokens) hash = Math.imul(hash ^ (token + 1), 0x01000193) ^ (hash >>> 15);
  return hash >>> 0;
}

export function toyLogits(hash: number, vocabSize: number): number[] {
  return Array.from({ length: vocabSize }, (_, token) => Math.fround((toyHash([hash, token]) % 6000) / 1000));
}

/** What follows `tokens`, greedily. */
export function toyNext(tokens: readonly number[], vocabSize: number): number {
  const logits = toyLogits(toyHash(tokens), vocabSize);
  return logits.indexOf(Math.max(...logits));
}

/** The lattice after `bonus`, which follows the tokens that hash to `hash`. */
export function toyLattice(hash: number, bonus: number, { latticeHeads, topK, vocabSize }: ModelShape): Lattice {
  const tokens = Uint32Array.from({ length: latticeHeads * topK }, (_, i) => toyHash([hash, bonus, i]) % vocabSize);
  const logProbs = Float32Array.from({ length: latticeHeads * topK }, (_, i) => -0.5 - (i % topK));
  return createLattice(latticeHeads, topK, tokens, logProbs);
}
