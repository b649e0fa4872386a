import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { BundleManifest } from "../../../shared/manifest.ts";

/*
 * The integer model once more, from a bundle's files alone, in the plainest scalar code: whole texts, no cache, no
 * pages, no threads, real exponentials, float64 wherever no integer decides. It shares nothing with the kernel.
 */

interface Matrix {
  readonly K: number;
  readonly N: number;
  /** [K, N] */
  readonly values: Int8Array;
  /** [N] */
  readonly scales: Float32Array;
  /** [N] */
  readonly offsets: Int32Array;
}

/** A row of values of eight bits and what one step of them is worth. */
interface Quantised {
  readonly values: number[];
  readonly step: number;
}

export class NaiveInteger {
  readonly #shape: BundleManifest["architecture"];
  readonly #file: Buffer;
  readonly #tensors: Readonly<Record<string, { shape: number[]; data_offsets: [number, number] }>>;
  readonly #dataAt: number;

  private constructor(manifest: BundleManifest, file: Buffer) {
    const headerBytes = Number(file.readBigUInt64LE(0));
    this.#shape = manifest.architecture;
    this.#file = file;
    this.#tensors = JSON.parse(file.toString("utf8", 8, 8 + headerBytes));
    this.#dataAt = 8 + headerBytes;
  }

  static async read(bundleDir: string): Promise<NaiveInteger> {
    const manifest = JSON.parse(await readFile(join(bundleDir, "manifest.json"), "utf8")) as BundleManifest;
    return new NaiveInteger(manifest, await readFile(join(bundleDir, manifest.graphs.base.path)));
  }

  /** Names of all matrices to multiply by. */
  get matrices(): string[] {
    return Object.keys(this.#tensors).flatMap((name) => (name.endsWith(".offsets") ? [name.slice(0, -8)] : []));
  }

  /** [tokens][vocabulary] logits after each of `tokens`. */
  logits(tokens: readonly number[]): number[][] {
    const { layers, width, normEps } = this.#shape;
    const embedding = new Int8Array(this.#bytes("embedding"));
    const embeddingScales = new Float32Array(this.#bytes("embedding.scales"));
    const streams = tokens.map((token) =>
      Array.from({ length: width }, (_, i) => embedding[token * width + i]! * embeddingScales[token]!),
    );
    for (let layer = 0; layer < layers; layer++) {
      const name = (part: string) => `blocks.${layer}.${part}`;
      const qkv = this.matrix(name("qkv"));
      const attended = this.#attention(streams.map((x) => product(normalised(x, normEps), qkv)));
      const [out, gateUp, down] = ["attention_out", "gate_up", "down"].map((part) => this.matrix(name(part)));
      for (const [row, x] of streams.entries()) {
        add(x, product(quantise(attended[row]!), out!));
        add(x, product(quantise(this.#gated(product(normalised(x, normEps), gateUp!))), down!));
      }
    }
    const output = this.matrix("output");
    return streams.map((x) => product(normalised(x, normEps), output));
  }

  /** Rows [heads + 2 kvHeads][headDim] of queries, keys and values -> what each reads of itself and those before it. */
  #attention(rows: readonly number[][]): number[][] {
    const { heads, kvHeads, headDim } = this.#shape;
    const head = (row: readonly number[], index: number) => row.slice(index * headDim, (index + 1) * headDim);
    const placed = (row: readonly number[], index: number, position: number) =>
      quantise(hadamard(this.#rotated(head(row, index), position), powerOfTwo(headDim)));
    const keys = rows.map((row, at) => Array.from({ length: kvHeads }, (_, h) => placed(row, heads + h, at)));
    const values = rows.map((row) =>
      Array.from({ length: kvHeads }, (_, h) => quantise(head(row, heads + kvHeads + h))),
    );
    // Transforming both sides has multiplied their product by the transform's size.
    const scale = 1 / Math.sqrt(headDim) / powerOfTwo(headDim);
    return rows.map((row, at) =>
      Array.from({ length: heads }, (_, h) => {
        const kvHead = Math.floor((h * kvHeads) / heads);
        const query = placed(row, h, at);
        const scores = keys.slice(0, at + 1).map(({ [kvHead]: key }) => {
          return dot(query.values, key!.values) * key!.step * query.step * scale;
        });
        return mixed(
          scores,
          values.slice(0, at + 1).map(({ [kvHead]: value }) => value!),
        );
      }).flat(),
    );
  }

  /** Rotates the pairs (i, i + headDim / 2) by position times frequency i. */
  #rotated(head: readonly number[], position: number): number[] {
    const half = head.length / 2;
    return head.map((value, i) => {
      const angle = position * this.#shape.ropeFrequencies[i % half]!;
      return value * Math.cos(angle) + (i < half ? -head[i + half]! : head[i - half]!) * Math.sin(angle);
    });
  }

  #gated(row: readonly number[]): number[] {
    const { ffn } = this.#shape;
    const gated = Array.from({ length: ffn }, (_, i) => (row[i]! / (1 + Math.exp(-row[i]!))) * row[ffn + i]!);
    return hadamard(gated, Math.min(64, powerOfTwo(ffn)));
  }

  matrix(name: string): Matrix {
    const [K, N] = this.#tensors[name]!.shape;
    const scales = new Float32Array(this.#bytes(`${name}.scales`));
    const offsets = new Int32Array(this.#bytes(`${name}.offsets`));
    return { K: K!, N: N!, values: new Int8Array(this.#bytes(name)), scales, offsets };
  }

  #bytes(name: string): ArrayBuffer {
    const [from, to] = this.#tensors[name]!.data_offsets;
    return Uint8Array.from(this.#file.subarray(this.#dataAt + from, this.#dataAt + to)).buffer;
  }
}

/** The row divided by its root mean square, in eight bits; the norm's weights are in the matrices. */
function normalised(x: readonly number[], epsilon: number): Quantised {
  const { values, step } = quantise(x);
  return { values, step: step / Math.sqrt(dot(x, x) / x.length + epsilon) };
}

/** -127..127, the largest in size as 127. */
function quantise(row: readonly number[]): Quantised {
  const most = Math.max(...row.map(Math.abs));
  return { values: row.map((value) => (most === 0 ? 0 : nearest((value * 127) / most))), step: most / 127 };
}

/** Ties go to even numbers. */
function nearest(value: number): number {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low & 1) : Math.round(value);
}

function product({ values, step }: Quantised, { K, N, values: weights, scales }: Matrix): number[] {
  const sums = new Array<number>(N).fill(0);
  for (let k = 0; k < K; k++) for (let n = 0; n < N; n++) sums[n]! += values[k]! * weights[k * N + n]!;
  return sums.map((sum, n) => sum * scales[n]! * step);
}

/** softmax(scores) times the values: weights of fifteen bits, the denominator in steps of 2^-18. */
function mixed(scores: readonly number[], values: readonly Quantised[]): number[] {
  const most = Math.max(...scores);
  // Less than 2^-30 of the largest is nothing.
  const shares = scores.map((score) => (score - most > -30 * Math.LN2 ? Math.exp(score - most) : 0));
  const mass = shares.reduce((sum, share) => sum + nearest(share * 2 ** 18), 0) / 2 ** 18;
  const weights = shares.map((share, i) => share * values[i]!.step);
  const heaviest = Math.max(...weights);
  const words = weights.map((weight) => nearest((weight * 32767) / heaviest));
  return values[0]!.values.map((_, d) => {
    const sum = words.reduce((total, word, i) => total + word * values[i]!.values[d]!, 0);
    return (sum * heaviest) / 32767 / mass;
  });
}

/** Each block of `size` times the Walsh-Hadamard matrix, whose entry (i, j) is -1 to the number of bits that i and j share. */
function hadamard(row: readonly number[], size: number): number[] {
  return row.map((_, at) => {
    const block = at - (at % size);
    let sum = 0;
    for (let j = 0; j < size; j++) sum += bits((at % size) & j) % 2 === 0 ? row[block + j]! : -row[block + j]!;
    return sum;
  });
}

function bits(value: number): number {
  return value === 0 ? 0 : (value & 1) + bits(value >> 1);
}

/** The largest power of two that divides `value`. */
function powerOfTwo(value: number): number {
  return value & -value;
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

function add(x: number[], more: readonly number[]): void {
  for (const [i, value] of more.entries()) x[i]! += value;
}
