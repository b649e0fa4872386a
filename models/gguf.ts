import { open } from "node:fs/promises";
import { gguf } from "@huggingface/gguf";
import { assert } from "../shared/assert.ts";
import { blockBytes, blockSize, dequantise, typeName } from "./dequantise.ts";

/** A tensor's place in the file. A matrix is row-major, [rows, columns]; a vector has one row. */
interface TensorEntry {
  readonly type: number;
  readonly rows: number;
  readonly columns: number;
  readonly offset: number;
  readonly bytes: number;
}

/** A tensor as stored. `data` holds `rows * columns` values in blocks of the type `type`, row by row. */
export interface StoredTensor {
  readonly type: number;
  readonly rows: number;
  readonly columns: number;
  readonly data: Uint8Array;
}

/** A GGUF file with its header read; tensors are read from disk as they are asked for. */
export class GgufFile {
  readonly path: string;
  readonly #metadata: ReadonlyMap<string, unknown>;
  readonly #tensors: ReadonlyMap<string, TensorEntry>;
  readonly #unread: Set<string>;

  private constructor(path: string, metadata: Map<string, unknown>, tensors: Map<string, TensorEntry>) {
    this.path = path;
    this.#metadata = metadata;
    this.#tensors = tensors;
    this.#unread = new Set(tensors.keys());
  }

  static async open(path: string): Promise<GgufFile> {
    const header = await gguf(path, { allowLocalFile: true });
    if (!header.littleEndian) throw new Error(`${path}: big-endian GGUF is not supported`);
    const tensors = new Map<string, TensorEntry>();
    for (const info of header.tensorInfos) {
      const [columns = 1, rows = 1, ...more] = info.shape.map(Number);
      if (more.length > 0) throw new Error(`${path}: tensor ${info.name} has more than two dimensions`);
      const size = blockSize(info.dtype);
      if (columns % size !== 0) throw new Error(`${path}: rows of ${info.name} do not fill blocks of ${size}`);
      tensors.set(info.name, {
        type: info.dtype,
        rows,
        columns,
        offset: Number(header.tensorDataOffset + info.offset),
        bytes: ((rows * columns) / size) * blockBytes(info.dtype),
      });
    }
    return new GgufFile(path, new Map(Object.entries(header.metadata)), tensors);
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** Names of the tensors that nothing has read: a compiler that leaves one out has misread the model. */
  get unread(): readonly string[] {
    return [...this.#unread];
  }

  async read(name: string): Promise<StoredTensor> {
    const entry = this.#tensors.get(name);
    if (entry === undefined) throw new Error(`${this.path}: no tensor named ${name}`);
    this.#unread.delete(name);
    const data = new Uint8Array(entry.bytes);
    const file = await open(this.path);
    try {
      for (let at = 0; at < data.length; ) {
        const { bytesRead } = await file.read(data, at, data.length - at, entry.offset + at);
        if (bytesRead === 0) throw new Error(`${this.path}: the file ends inside tensor ${name}`);
        at += bytesRead;
      }
    } finally {
      await file.close();
    }
    return { type: entry.type, rows: entry.rows, columns: entry.columns, data };
  }

  /** [rows * columns] values, whatever the stored type. */
  async readFloats(name: string): Promise<Float32Array> {
    const tensor = await this.read(name);
    return dequantise(tensor.type, tensor.data);
  }

  number(key: string, fallback?: number): number {
    const value = this.#metadata.get(key) ?? fallback;
    if (typeof value === "bigint") return Number(value);
    if (typeof value !== "number") throw new Error(`${this.path}: metadata ${key} is not a number`);
    return value;
  }

  string(key: string, fallback?: string): string {
    const value = this.#metadata.get(key) ?? fallback;
    if (typeof value !== "string") throw new Error(`${this.path}: metadata ${key} is not a string`);
    return value;
  }

  boolean(key: string, fallback: boolean): boolean {
    return this.#metadata.get(key) === undefined ? fallback : this.#metadata.get(key) === true;
  }

  list(key: string): readonly unknown[] {
    const value = this.#metadata.get(key);
    if (!Array.isArray(value)) throw new Error(`${this.path}: metadata ${key} is not a list`);
    return value;
  }

  hasKey(key: string): boolean {
    return this.#metadata.has(key);
  }
}

export function toFloats(tensor: StoredTensor): Float32Array {
  const out = dequantise(tensor.type, tensor.data);
  assert(out.length === tensor.rows * tensor.columns, `${typeName(tensor.type)} tensor of ${tensor.rows} rows`);
  return out;
}
