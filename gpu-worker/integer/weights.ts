import { readSafetensorsIndex, type SafetensorsIndex } from "../../shared/safetensors.ts";
import type { IntegerShape } from "./layout.ts";
import type { Matrix } from "./product.ts";

/** The weights of an integer model (models/compile/integer.ts), read whole into shared memory. */
export class IntegerWeights {
  readonly #bytes: Uint8Array<ArrayBufferLike>;
  readonly #index: SafetensorsIndex;

  /** Throws Error on a malformed file. */
  constructor(bytes: Uint8Array<ArrayBufferLike>) {
    this.#bytes = bytes;
    this.#index = readSafetensorsIndex(bytes, (utf8) => new TextDecoder().decode(utf8));
  }

  /** Throws Error naming the tensor that is missing or of another size or type. */
  int8(name: string, length: number): Int8Array {
    return new Int8Array(this.#bytes.buffer, this.#find(name, "I8", length), length);
  }

  float32(name: string, length: number): Float32Array {
    return new Float32Array(this.#bytes.buffer, this.#find(name, "F32", length * 4), length);
  }

  int32(name: string, length: number): Int32Array {
    return new Int32Array(this.#bytes.buffer, this.#find(name, "I32", length * 4), length);
  }

  has(name: string): boolean {
    return this.#index.tensors.has(name);
  }

  /** Throws Error where there is no tensor of that name with so many dimensions. */
  shape(name: string, dimensions: number): readonly number[] {
    const shape = this.#index.tensors.get(name)?.shape;
    if (shape?.length !== dimensions) throw new Error(`the weights lack ${name} of ${dimensions} dimensions`);
    return shape;
  }

  /** Columns of a matrix [K, N]: each pair [from, to) in turn, side by side. */
  columns(name: string, K: number, N: number, parts: readonly (readonly [from: number, to: number])[]): Matrix {
    const all = this.int8(name, K * N);
    const width = parts.reduce((sum, [from, to]) => sum + to - from, 0);
    const values = new Int8Array(K * width);
    let at = 0;
    for (let k = 0; k < K; k++) {
      for (const [from, to] of parts) {
        values.set(all.subarray(k * N + from, k * N + to), at);
        at += to - from;
      }
    }
    return { K, N: width, values };
  }

  /** The columns `ids` of a matrix [K, N]. */
  pick(name: string, K: number, N: number, ids: Int32Array): Matrix {
    const all = this.int8(name, K * N);
    const values = new Int8Array(K * ids.length);
    for (let k = 0; k < K; k++) {
      for (let i = 0; i < ids.length; i++) values[k * ids.length + i] = all[k * N + ids[i]!]!;
    }
    return { K, N: ids.length, values };
  }

  #find(name: string, dtype: string, bytes: number): number {
    const tensor = this.#index.tensors.get(name);
    if (tensor?.dtype !== dtype || tensor.byteLength !== bytes) {
      throw new Error(`the weights lack ${name}, ${bytes} bytes of ${dtype}`);
    }
    return tensor.byteOffset;
  }
}

/** Sizes of a model's matrices [K, N]. */
export function matrixSizes({ width, heads, kvHeads, headDim, ffn, vocabSize }: IntegerShape) {
  return {
    qkv: { K: width, N: (heads + 2 * kvHeads) * headDim },
    attentionOut: { K: heads * headDim, N: width },
    gateUp: { K: width, N: 2 * ffn },
    down: { K: ffn, N: width },
    output: { K: width, N: vocabSize },
  };
}
