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
export const GGML = { F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 8, Q4_K: 12, Q6_K: 14, BF16: 30 } as const;

const TYPES: ReadonlyMap<number, BlockType> = new Map<number, BlockType>([
  [GGML.F32, { name: "F32", size: 1, bytes: 4, decode: (v, at, out, to) => void (out[to] = v.getFloat32(at, true)) }],
  [GGML.F16, { name: "F16", size: 1, bytes: 2, decode: (v, at, out, to) => void (out[to] = v.getFloat16(at, true)) }],
  [GGML.BF16, { name: "BF16", size: 1, bytes: 2, decode: decodeBf16 }],
  [GGML.Q4_0, { name: "Q4_0", size: 32, bytes: 18, decode: decodeQ4_0 }],
  [GGML.Q4_1, { name: "Q4_1", size: 32, bytes: 20, decode: decodeQ4_1 }],
  [GGML.Q8_0, { name: "Q8_0", size: 32, bytes: 34, decode: decodeQ8_0 }],
  [GGML.Q4_K, { name: "Q4_K", size: 256, bytes: 144, decode: decodeQ4_K }],
  [GGML.Q6_K, { name: "Q6_K", size: 256, bytes: 210, decode: decodeQ6_K }],
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

/** d * q, q signed */
function decodeQ8_0(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at, true);
  for (let i = 0; i < 32; i++) out[to + i] = d * view.getInt8(at + 2 + i);
}

/** Eight sub-blocks of 32: d * scale * q - dmin * min, with 6-bit scales and mins packed in 12 bytes. */
function decodeQ4_K(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at, true);
  const dmin = view.getFloat16(at + 2, true);
  const packed = (i: number) => view.getUint8(at + 4 + i);
  for (let sub = 0; sub < 8; sub++) {
    const scale = sub < 4 ? packed(sub) & 63 : (packed(sub + 4) & 15) | ((packed(sub - 4) >> 6) << 4);
    const min = sub < 4 ? packed(sub + 4) & 63 : (packed(sub + 4) >> 4) | ((packed(sub) >> 6) << 4);
    const codes = at + 16 + 32 * (sub >> 1);
    const shift = (sub & 1) * 4;
    for (let i = 0; i < 32; i++) {
      out[to + 32 * sub + i] = d * scale * ((view.getUint8(codes + i) >> shift) & 15) - dmin * min;
    }
  }
}

/** Sixteen sub-blocks of 16: d * scale * (q - 32), q of 4 low bits and 2 high bits, scale signed. */
function decodeQ6_K(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at + 208, true);
  for (let i = 0; i < 256; i++) {
    const half = i >> 7;
    const quarter = (i >> 5) & 3;
    const low = view.getUint8(at + 64 * half + 32 * (quarter & 1) + (i & 31)) >> (4 * (quarter >> 1));
    const high = view.getUint8(at + 128 + 32 * half + (i & 31)) >> (2 * quarter);
    const scale = view.getInt8(at + 192 + (i >> 4));
    out[to + i] = d * scale * (((low & 15) | ((high & 3) << 4)) - 32);
  }
}
