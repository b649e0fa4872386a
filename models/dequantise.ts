import {
  decodeIQ4_XS,
  decodeQ2_K,
  decodeQ3_K,
  decodeQ4_K,
  decodeQ5_K,
  decodeQ6_K,
  IQ4_VALUES,
} from "./dequantise-k.ts";

/**
 * The GGML block types as floats. Layouts are those of ggml-common.h, checked against the `gguf`
 * Python package (test/models). In every block of 4-bit values the low nibbles come first.
 */

interface BlockType {
  readonly name: string;
  /** Values per block. */
  readonly size: number;
  /** Bytes per block. */
  readonly bytes: number;
  /** Writes the block at byte `at` of `view` to `out`, from value `to` on. */
  readonly decode: (view: DataView, at: number, out: Float32Array, to: number) => void;
}

/** Numbers of the GGML types, as stored in a GGUF file. */
export const GGML = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q2_K: 10,
  Q3_K: 11,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  IQ4_NL: 20,
  IQ4_XS: 23,
  BF16: 30,
} as const;

const TYPES: ReadonlyMap<number, BlockType> = new Map<number, BlockType>([
  [GGML.F32, { name: "F32", size: 1, bytes: 4, decode: (v, at, out, to) => void (out[to] = v.getFloat32(at, true)) }],
  [GGML.F16, { name: "F16", size: 1, bytes: 2, decode: (v, at, out, to) => void (out[to] = v.getFloat16(at, true)) }],
  [GGML.BF16, { name: "BF16", size: 1, bytes: 2, decode: decodeBf16 }],
  [GGML.Q4_0, { name: "Q4_0", size: 32, bytes: 18, decode: decodeQ4_0 }],
  [GGML.Q4_1, { name: "Q4_1", size: 32, bytes: 20, decode: decodeQ4_1 }],
  [GGML.Q5_0, { name: "Q5_0", size: 32, bytes: 22, decode: decodeQ5_0 }],
  [GGML.Q5_1, { name: "Q5_1", size: 32, bytes: 24, decode: decodeQ5_1 }],
  [GGML.Q8_0, { name: "Q8_0", size: 32, bytes: 34, decode: decodeQ8_0 }],
  [GGML.Q2_K, { name: "Q2_K", size: 256, bytes: 84, decode: decodeQ2_K }],
  [GGML.Q3_K, { name: "Q3_K", size: 256, bytes: 110, decode: decodeQ3_K }],
  [GGML.Q4_K, { name: "Q4_K", size: 256, bytes: 144, decode: decodeQ4_K }],
  [GGML.Q5_K, { name: "Q5_K", size: 256, bytes: 176, decode: decodeQ5_K }],
  [GGML.Q6_K, { name: "Q6_K", size: 256, bytes: 210, decode: decodeQ6_K }],
  [GGML.IQ4_NL, { name: "IQ4_NL", size: 32, bytes: 18, decode: decodeIQ4_NL }],
  [GGML.IQ4_XS, { name: "IQ4_XS", size: 256, bytes: 136, decode: decodeIQ4_XS }],
]);

function typeOf(type: number): BlockType {
  const found = TYPES.get(type);
  if (found === undefined) {
    const known = [...TYPES.values()].map((t) => t.name).join(", ");
    throw new Error(`GGML type ${type} is not supported; supported: ${known}`);
  }
  return found;
}

export const typeName = (type: number): string => typeOf(type).name;
export const blockSize = (type: number): number => typeOf(type).size;
export const blockBytes = (type: number): number => typeOf(type).bytes;

/** Every value of `data`, whole blocks of the GGML type `type`. */
export function dequantise(type: number, data: Uint8Array): Float32Array {
  const block = typeOf(type);
  const blocks = data.length / block.bytes;
  if (!Number.isInteger(blocks)) throw new Error(`${data.length} bytes are not whole ${block.name} blocks`);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const out = new Float32Array(blocks * block.size);
  for (let i = 0; i < blocks; i++) block.decode(view, i * block.bytes, out, i * block.size);
  return out;
}

const asBits = new Uint32Array(1);
const asFloat = new Float32Array(asBits.buffer);

/** A bfloat16 is the upper half of a float32. */
export function bf16ToFloat(bits: number): number {
  asBits[0] = bits << 16;
  return asFloat[0]!;
}

function decodeBf16(view: DataView, at: number, out: Float32Array, to: number): void {
  out[to] = bf16ToFloat(view.getUint16(at, true));
}

/** d * (q - 8) */
function decodeQ4_0(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at, true);
  for (let i = 0; i < 16; i++) {
    const byte = view.getUint8(at + 2 + i);
    out[to + i] = d * ((byte & 15) - 8);
    out[to + 16 + i] = d * ((byte >> 4) - 8);
  }
}

/** d * q + m */
function decodeQ4_1(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at, true);
  const m = view.getFloat16(at + 2, true);
  for (let i = 0; i < 16; i++) {
    const byte = view.getUint8(at + 4 + i);
    out[to + i] = d * (byte & 15) + m;
    out[to + 16 + i] = d * (byte >> 4) + m;
  }
}

/** d * (q - 16), the fifth bits of all values in four bytes of their own */
function decodeQ5_0(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at, true);
  const fifth = view.getUint32(at + 2, true);
  for (let i = 0; i < 16; i++) {
    const byte = view.getUint8(at + 6 + i);
    out[to + i] = d * (((byte & 15) | (((fifth >>> i) & 1) << 4)) - 16);
    out[to + 16 + i] = d * (((byte >> 4) | (((fifth >>> (i + 16)) & 1) << 4)) - 16);
  }
}

/** d * q + m, the fifth bits of all values in four bytes of their own */
function decodeQ5_1(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at, true);
  const m = view.getFloat16(at + 2, true);
  const fifth = view.getUint32(at + 4, true);
  for (let i = 0; i < 16; i++) {
    const byte = view.getUint8(at + 8 + i);
    out[to + i] = d * ((byte & 15) | (((fifth >>> i) & 1) << 4)) + m;
    out[to + 16 + i] = d * ((byte >> 4) | (((fifth >>> (i + 16)) & 1) << 4)) + m;
  }
}

/** d * one of sixteen uneven steps */
function decodeIQ4_NL(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at, true);
  for (let i = 0; i < 16; i++) {
    const byte = view.getUint8(at + 2 + i);
    out[to + i] = d * IQ4_VALUES[byte & 15]!;
    out[to + 16 + i] = d * IQ4_VALUES[byte >> 4]!;
  }
}

/** d * q, q signed */
function decodeQ8_0(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at, true);
  for (let i = 0; i < 32; i++) out[to + i] = d * view.getInt8(at + 2 + i);
}
