import { readFile } from "node:fs/promises";
import { bf16ToFloat } from "./dequantise.ts";

/** One tensor of a safetensors file, widened: float types to float32, integers to int32. */
export interface SafeTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array | Int32Array;
}

export interface SafeTensors {
  readonly metadata: Readonly<Record<string, string>>;
  has(name: string): boolean;
  /** Throws where there is none of that name. */
  get(name: string): SafeTensor;
  floats(name: string): Float32Array;
}

const MAX_HEADER_BYTES = 1 << 20;

interface Entry {
  readonly dtype: string;
  readonly shape: number[];
  readonly data_offsets: [number, number];
}

/** Reads a whole safetensors file (u64 header length, JSON header, data). Throws on anything malformed. */
export async function readSafetensors(path: string): Promise<SafeTensors> {
  const file = await readFile(path);
  const headerBytes = file.length >= 8 ? Number(file.readBigUInt64LE(0)) : Number.POSITIVE_INFINITY;
  if (headerBytes > Math.min(MAX_HEADER_BYTES, file.length - 8)) throw new Error(`${path}: not a safetensors file`);
  const header = JSON.parse(file.toString("utf8", 8, 8 + headerBytes)) as Record<string, Entry>;
  const { __metadata__, ...entries } = header;
  const get = (name: string): SafeTensor => {
    const entry = entries[name];
    if (!entry) throw new Error(`${path}: no tensor named ${name}`);
    const [from, to] = entry.data_offsets;
    // A copy: the data need not be aligned to its type within the file.
    const bytes = new Uint8Array(file.subarray(8 + headerBytes + from, 8 + headerBytes + to));
    const values = widen(path, entry.dtype, bytes);
    if (values.length !== entry.shape.reduce((a, b) => a * b, 1)) throw new Error(`${path}: ${name} is cut short`);
    return { shape: entry.shape, values };
  };
  return {
    metadata: (__metadata__ as unknown as Record<string, string> | undefined) ?? {},
    has: (name) => Object.hasOwn(entries, name),
    get,
    floats: (name) => {
      const { values } = get(name);
      if (values instanceof Float32Array) return values;
      throw new Error(`${path}: ${name} holds integers`);
    },
  };
}

function widen(path: string, dtype: string, bytes: Uint8Array): Float32Array | Int32Array {
  if (dtype === "F32") return new Float32Array(bytes.buffer);
  if (dtype === "F16") return Float32Array.from(new Float16Array(bytes.buffer));
  if (dtype === "BF16") return Float32Array.from(new Uint16Array(bytes.buffer), bf16ToFloat);
  if (dtype === "I8") return Int32Array.from(new Int8Array(bytes.buffer));
  if (dtype === "I32") return new Int32Array(bytes.buffer);
  if (dtype === "I64") return Int32Array.from(new BigInt64Array(bytes.buffer), Number);
  throw new Error(`${path}: tensor type ${dtype} is not supported`);
}
