import { defaultCacheDir } from "../../../gpu-worker/config.ts";
import { kernelCode } from "../../../gpu-worker/integer/kernel.ts";
import { instantiate, type Kernel } from "../../../gpu-worker/integer/kernel-functions.ts";

export interface KernelShape {
  readonly width: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffn: number;
  readonly layers: number;
  readonly pages: number;
  readonly context: number;
  readonly headBlock: number;
  readonly ffnBlock: number;
}

/** Of the tests of the kernel's functions: small, with grouped queries. */
export const SHAPE: KernelShape = {
  width: 40,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  ffn: 192,
  layers: 2,
  pages: 50,
  context: 800,
  headBlock: 16,
  ffnBlock: 64,
};

const EPSILON = 1e-5;
export const PAGE = 16;

/** The kernel over a memory of its own, in which arrays are placed one after the other. */
export class KernelMemory {
  readonly kernel: Kernel;
  readonly shape: KernelShape;
  readonly epsilon = EPSILON;
  readonly cache: Cache;
  /** [context][headDim / 2] cosines, then sines. */
  readonly angles: Float32Array;
  readonly #buffer: SharedArrayBuffer;
  #end = 1 << 16;

  private constructor(kernel: Kernel, buffer: SharedArrayBuffer, shape: KernelShape) {
    this.kernel = kernel;
    this.shape = shape;
    this.#buffer = buffer;
    const { layers, kvHeads, pages, headDim, context } = shape;
    const arena = this.bytes(layers * kvHeads * pages * PAGE * (2 * headDim + 8));
    this.angles = this.floats(context * headDim);
    this.cache = new Cache(buffer, arena.byteOffset, shape);
    const { width, heads, ffn, headBlock, ffnBlock } = shape;
    const sizes = [width, heads, kvHeads, headDim, ffn, pages, arena.byteOffset] as const;
    kernel.configure(...sizes, context, EPSILON, headBlock, ffnBlock);
  }

  static async of(shape: KernelShape): Promise<KernelMemory> {
    const memory = new WebAssembly.Memory({ initial: 256, maximum: 256, shared: true });
    return new KernelMemory(await instantiate(await kernelCode(defaultCacheDir()), memory), memory.buffer, shape);
  }

  bytes(count: number): Uint8Array {
    return new Uint8Array(this.#buffer, this.#take(count), count);
  }

  words(count: number): Int16Array {
    return new Int16Array(this.#buffer, this.#take(count * 2), count);
  }

  ints(values: ArrayLike<number>): Int32Array {
    const array = new Int32Array(this.#buffer, this.#take(values.length * 4), values.length);
    array.set(values);
    return array;
  }

  floats(count: number, values?: (index: number) => number): Float32Array {
    const array = new Float32Array(this.#buffer, this.#take(count * 4), count);
    if (values !== undefined) for (let i = 0; i < count; i++) array[i] = values(i);
    return array;
  }

  masks(values: readonly bigint[]): BigUint64Array {
    const array = new BigUint64Array(this.#buffer, this.#take(values.length * 8), values.length);
    array.set(values);
    return array;
  }

  #take(bytes: number): number {
    const at = this.#end;
    this.#end = Math.ceil((at + bytes) / 64) * 64;
    if (this.#end > this.#buffer.byteLength) throw new Error("the memory is full");
    return at;
  }
}

/**
 * The paged cache as gpu-worker/integer/assembly/cache.ts describes it: by layer and key/value head the regions
 *   keys    [pages][PAGE / 8][headDim / 2][8 tokens][2] int8
 *   values  [pages][headDim / 8][PAGE / 2][8][2 tokens] int8
 *   key scales, value scales  [pages][PAGE] float32
 */
export class Cache {
  readonly #bytes: Int8Array;
  readonly #floats: Float32Array;
  readonly #shape: KernelShape;

  constructor(buffer: SharedArrayBuffer, arena: number, shape: KernelShape) {
    const { layers, kvHeads, pages, headDim } = shape;
    const size = layers * kvHeads * pages * PAGE * (2 * headDim + 8);
    this.#bytes = new Int8Array(buffer, arena, size);
    this.#floats = new Float32Array(buffer, arena, size / 4);
    this.#shape = shape;
  }

  /** All of it. */
  get content(): Int8Array {
    return Int8Array.from(this.#bytes);
  }

  key(layer: number, head: number, slot: number): { values: number[]; scale: number } {
    const places = this.#keyPlaces(layer, head, slot);
    return { values: places.map((at) => this.#bytes[at]!), scale: this.#floats[this.#scale(layer, head, slot, 0)]! };
  }

  value(layer: number, head: number, slot: number): { values: number[]; scale: number } {
    const places = this.#valuePlaces(layer, head, slot);
    return { values: places.map((at) => this.#bytes[at]!), scale: this.#floats[this.#scale(layer, head, slot, 1)]! };
  }

  /** Fills one slot of a layer and head. */
  put(layer: number, head: number, slot: number, random: { int(low: number, high: number): number }): void {
    for (const at of [...this.#keyPlaces(layer, head, slot), ...this.#valuePlaces(layer, head, slot)]) {
      this.#bytes[at] = random.int(-127, 127);
    }
    for (const part of [0, 1]) this.#floats[this.#scale(layer, head, slot, part)] = random.int(1, 1000) / 2 ** 14;
  }

  #region(layer: number, head: number): number {
    const { kvHeads, pages, headDim } = this.#shape;
    return (layer * kvHeads + head) * pages * PAGE * (2 * headDim + 8);
  }

  #keyPlaces(layer: number, head: number, slot: number): number[] {
    const { headDim } = this.#shape;
    const [page, place] = [Math.floor(slot / PAGE), slot % PAGE];
    return Array.from({ length: headDim }, (_, d) => {
      const half = page * 2 + Math.floor(place / 8);
      const pair = half * (headDim / 2) + Math.floor(d / 2);
      return this.#region(layer, head) + (pair * 8 + (place % 8)) * 2 + (d % 2);
    });
  }

  #valuePlaces(layer: number, head: number, slot: number): number[] {
    const { headDim, pages } = this.#shape;
    const [page, place] = [Math.floor(slot / PAGE), slot % PAGE];
    const start = this.#region(layer, head) + pages * PAGE * headDim;
    return Array.from({ length: headDim }, (_, d) => {
      const eight = page * (headDim / 8) + Math.floor(d / 8);
      const pair = eight * (PAGE / 2) + Math.floor(place / 2);
      return start + (pair * 8 + (d % 8)) * 2 + (place % 2);
    });
  }

  /** `part`: 0 for keys, 1 for values. */
  #scale(layer: number, head: number, slot: number, part: number): number {
    const { headDim, pages } = this.#shape;
    return (this.#region(layer, head) + pages * PAGE * 2 * headDim) / 4 + part * pages * PAGE + slot;
  }
}
