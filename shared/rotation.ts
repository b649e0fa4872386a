import { assert } from "./assert.ts";

/**
 * An orthogonal change of basis that spreads what is large in one coordinate over all of them, so that eight bits
 * hold a vector well (QuaRot: Ashkboos et al. 2024, arXiv 2404.00456): signs, then the Kronecker product of the
 * normalised Walsh-Hadamard matrix of the largest power of two in `size` with a cosine transform of what is left.
 */
export class Rotation {
  readonly size: number;
  /** size = power * rest; coordinate a * rest + b belongs to column a of the one and b of the other. */
  readonly power: number;
  readonly #rest: number;
  /** [size] +-1 / sqrt(power) */
  readonly signs: Float64Array;
  /** [rest, rest] orthonormal */
  readonly mix: Float64Array;
  readonly #part: Float64Array;

  constructor(size: number) {
    this.size = size;
    this.power = powerOfTwoIn(size);
    this.#rest = size / this.power;
    const scale = 1 / Math.sqrt(this.power);
    this.signs = Float64Array.from({ length: size }, (_, i) => randomSign(i) * scale);
    this.mix = cosines(this.#rest);
    this.#part = new Float64Array(this.#rest);
  }

  /** Into the new basis, in place: `values` holds whole vectors one after the other. */
  apply(values: Float32Array | Float64Array): void {
    assert(values.length % this.size === 0, "whole vectors");
    for (let from = 0; from < values.length; from += this.size) {
      const vector = values.subarray(from, from + this.size);
      for (let i = 0; i < this.size; i++) vector[i]! *= this.signs[i]!;
      this.#hadamard(vector);
      this.#multiply(vector, false);
    }
  }

  /** Back, in place. */
  restore(values: Float32Array | Float64Array): void {
    assert(values.length % this.size === 0, "whole vectors");
    for (let from = 0; from < values.length; from += this.size) {
      const vector = values.subarray(from, from + this.size);
      this.#multiply(vector, true);
      this.#hadamard(vector);
      for (let i = 0; i < this.size; i++) vector[i]! *= this.signs[i]!;
    }
  }

  #hadamard(vector: Float32Array | Float64Array): void {
    hadamard(vector, this.power, this.#rest);
  }

  /** Each run of `rest` coordinates times the cosine transform, or its transpose. */
  #multiply(vector: Float32Array | Float64Array, transposed: boolean): void {
    const rest = this.#rest;
    if (rest === 1) return;
    for (let from = 0; from < vector.length; from += rest) {
      for (let j = 0; j < rest; j++) {
        let sum = 0;
        for (let b = 0; b < rest; b++) sum += vector[from + b]! * this.mix[transposed ? j * rest + b : b * rest + j]!;
        this.#part[j] = sum;
      }
      for (let j = 0; j < rest; j++) vector[from + j] = this.#part[j]!;
    }
  }
}

/** Walsh-Hadamard transform, not normalised, over the coordinates i * stride + j, i < length, for every j < stride. */
export function hadamard(vector: Float32Array | Float64Array, length: number, stride = 1): void {
  const end = length * stride;
  for (let half = stride; half < end; half *= 2) {
    for (let block = 0; block < end; block += 2 * half) {
      for (let i = block; i < block + half; i++) {
        const a = vector[i]!;
        const b = vector[i + half]!;
        vector[i] = a + b;
        vector[i + half] = a - b;
      }
    }
  }
}

/** The largest power of two that divides `size` and is at most `limit`. */
export function powerOfTwoIn(size: number, limit = Infinity): number {
  let power = 1;
  while (size % (2 * power) === 0 && 2 * power <= limit) power *= 2;
  return power;
}

/** The orthonormal cosine transform (DCT-II), [size, size]; columns are the new coordinates. */
function cosines(size: number): Float64Array {
  return Float64Array.from({ length: size * size }, (_, at) => {
    const [b, j] = [Math.floor(at / size), at % size];
    return Math.sqrt((j === 0 ? 1 : 2) / size) * Math.cos((Math.PI * (b + 0.5) * j) / size);
  });
}

/** +-1, the same for ever: compiled weights and running code must agree. */
export function randomSign(index: number): 1 | -1 {
  let x = Math.imul(index + 1, 0x9e3779b9);
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return ((x ^ (x >>> 15)) & 1) === 1 ? 1 : -1;
}
