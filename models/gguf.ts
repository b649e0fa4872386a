import { type FileHandle, open } from "node:fs/promises";
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

/** Types of a list and of its strings, as they follow its key. */
const STRINGS = Buffer.from(Uint32Array.of(9, 8).buffer);
const exactText = new TextDecoder("utf-8", { ignoreBOM: true });

type Header = Awaited<ReturnType<typeof gguf>>;

/**
 * A GGUF file with its header read; tensors are read from disk as they are asked for. Whatever the file holds, no more
 * memory is taken than in proportion to its size, and errors name the file and the tensor or key at fault.
 */
export class GgufFile {
  readonly path: string;
  readonly #metadata: ReadonlyMap<string, unknown>;
  readonly #tensors: ReadonlyMap<string, TensorEntry>;
  readonly #unread: Set<string>;
  /** Whether tensors have no data. */
  readonly #bare: boolean;
  /** Bytes before the tensors' descriptions. */
  readonly #metadataBytes: number;

  private constructor(
    path: string,
    metadata: ReadonlyMap<string, unknown>,
    metadataBytes: number,
    tensors: ReadonlyMap<string, TensorEntry>,
    unread: Iterable<string>,
    bare: boolean,
  ) {
    this.path = path;
    this.#metadata = metadata;
    this.#metadataBytes = metadataBytes;
    this.#tensors = tensors;
    this.#unread = new Set(unread);
    this.#bare = bare;
  }

  static async open(path: string): Promise<GgufFile> {
    const file = await open(path);
    try {
      const { size } = await file.stat();
      const header = await readHeader(path, file, size);
      const tensors = new Map<string, TensorEntry>();
      for (const info of header.tensorInfos) {
        if (tensors.has(info.name)) throw new Error(`${path}: there are two tensors named ${info.name}`);
        tensors.set(info.name, entryOf(path, info, Number(header.tensorDataOffset), size));
      }
      const metadata = new Map(Object.entries(header.metadata));
      return new GgufFile(path, metadata, header.tensorInfoByteRange[0], tensors, tensors.keys(), false);
    } finally {
      await file.close();
    }
  }

  /** The same file, whose tensors are looked for as ever and come without data: what is missing shows before much is read. */
  outline(): GgufFile {
    return new GgufFile(this.path, this.#metadata, this.#metadataBytes, this.#tensors, this.#unread, true);
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** Names of the tensors that nothing has read: a compiler that leaves one out has misread the model. */
  get unread(): readonly string[] {
    return [...this.#unread];
  }

  /** Throws where the tensor is missing or of another shape. */
  async read(name: string, rows: number, columns: number): Promise<StoredTensor> {
    const entry = this.#tensors.get(name);
    if (entry === undefined) throw new Error(`${this.path}: no tensor named ${name}`);
    if (entry.rows !== rows || entry.columns !== columns) {
      const shapes = `[${entry.rows}, ${entry.columns}], not [${rows}, ${columns}]`;
      throw new Error(`${this.path}: tensor ${name} is ${shapes} as the metadata has it`);
    }
    this.#unread.delete(name);
    if (this.#bare) return { type: entry.type, rows, columns, data: new Uint8Array() };
    const data = new Uint8Array(entry.bytes);
    const file = await open(this.path);
    try {
      await fill(file, data, entry.offset, () => new Error(`${this.path}: the file ends inside tensor ${name}`));
    } finally {
      await file.close();
    }
    return { type: entry.type, rows, columns, data };
  }

  /** A vector's `length` values, whatever the stored type. */
  async readFloats(name: string, length: number): Promise<Float32Array> {
    const tensor = await this.read(name, 1, length);
    return dequantise(tensor.type, tensor.data);
  }

  number(key: string, fallback?: number): number {
    const value = this.#metadata.get(key) ?? fallback;
    const number = typeof value === "bigint" ? Number(value) : value;
    if (typeof number !== "number" || !Number.isFinite(number)) {
      throw new Error(`${this.path}: metadata ${key} is ${value === undefined ? "missing" : "not a number"}`);
    }
    return number;
  }

  /** A whole number from 1 to `most`. */
  count(key: string, most: number, fallback?: number): number {
    const value = this.number(key, fallback);
    if (Number.isInteger(value) && value >= 1 && value <= most) return value;
    throw new Error(`${this.path}: metadata ${key} is ${value}, not a whole number from 1 to ${most}`);
  }

  string(key: string, fallback?: string): string {
    const value = this.#metadata.get(key) ?? fallback;
    if (typeof value === "string") return value;
    throw new Error(`${this.path}: metadata ${key} is ${value === undefined ? "missing" : "not a string"}`);
  }

  boolean(key: string, fallback: boolean): boolean {
    return this.#metadata.get(key) === undefined ? fallback : this.#metadata.get(key) === true;
  }

  list(key: string): readonly unknown[] {
    const value = this.#metadata.get(key);
    if (Array.isArray(value)) return value;
    throw new Error(`${this.path}: metadata ${key} is ${value === undefined ? "missing" : "not a list"}`);
  }

  /**
   * A list of strings to the letter: the library's own decoding loses a byte-order mark at a string's beginning, which
   * some vocabularies have tokens with.
   */
  async strings(key: string): Promise<string[]> {
    const { length } = this.list(key);
    const bytes = Buffer.alloc(this.#metadataBytes);
    const file = await open(this.path);
    try {
      await fill(file, bytes, 0, () => new Error(`${this.path}: the file ends inside its header`));
    } finally {
      await file.close();
    }
    const name = Buffer.from(key);
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(name.length));
    const found = bytes.indexOf(Buffer.concat([prefix, name, STRINGS]));
    if (found < 0) throw new Error(`${this.path}: metadata ${key} is not a list of strings`);
    let at = found + prefix.length + name.length + STRINGS.length + 8;
    return Array.from({ length }, () => {
      const from = at + 8;
      // Another place that looks like this key may lead anywhere.
      if (from > bytes.length) throw new Error(`${this.path}: metadata ${key} is damaged`);
      at = from + Number(bytes.readBigUInt64LE(at));
      return exactText.decode(bytes.subarray(from, at));
    });
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

/**
 * By the library, through a server of its ranges that is the file: reading a path itself, it takes what lies beyond the
 * file's end for zeros.
 */
async function readHeader(path: string, file: FileHandle, size: number): Promise<Header> {
  const ends = () => new Error("the file ends inside its header");
  const serve = async (_: unknown, init?: RequestInit): Promise<Response> => {
    const [, from, to] = /bytes=(\d+)-(\d+)/.exec(new Headers(init?.headers).get("range") ?? "") ?? [];
    if (Number(from) >= size) throw ends();
    const bytes = new Uint8Array(Math.min(Number(to) + 1, size) - Number(from));
    await fill(file, bytes, Number(from), ends);
    return new Response(bytes, { headers: { "content-range": `bytes ${from}-${to}/${size}` } });
  };
  let header: Header;
  try {
    header = await gguf("http://file", { fetch: serve });
    if (header.tensorInfoByteRange[1] > size) throw ends();
  } catch (error) {
    // What the library makes of bytes that are no GGUF is no fault of this program's.
    throw new Error(`${path}: not a sound GGUF file: ${(error as Error).message}`);
  }
  if (header.metadata.version === 1) throw new Error(`${path}: GGUF version 1 is not supported`);
  if (!header.littleEndian) throw new Error(`${path}: big-endian GGUF is not supported`);
  return header;
}

function entryOf(path: string, info: Header["tensorInfos"][number], dataOffset: number, size: number): TensorEntry {
  const { name, dtype: type } = info;
  const [columns = 1, rows = 1, ...more] = info.shape.map(Number);
  const fault = (what: string) => new Error(`${path}: tensor ${name} ${what}`);
  if (more.some((count) => count !== 1)) throw fault("has more than two dimensions");
  if (rows < 1 || columns < 1) throw fault("is empty");
  const [values, bytes] = sizesOf(type, fault);
  if (columns % values !== 0) throw fault(`has rows that do not fill blocks of ${values}`);
  const offset = dataOffset + Number(info.offset);
  const total = rows * (columns / values) * bytes;
  // Beyond 2^53 neither is exact, but nor is any file so long.
  if (offset + total > size) throw fault("lies beyond the end of the file");
  return { type, rows, columns, offset, bytes: total };
}

/** Values and bytes of a block. */
function sizesOf(type: number, fault: (what: string) => Error): [values: number, bytes: number] {
  try {
    return [blockSize(type), blockBytes(type)];
  } catch (error) {
    throw fault(`cannot be read: ${(error as Error).message}`);
  }
}

/** Fills `bytes` from the file's offset `from` on. */
async function fill(file: FileHandle, bytes: Uint8Array, from: number, ends: () => Error): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, from + at);
    if (bytesRead === 0) throw ends();
    at += bytesRead;
  }
}
