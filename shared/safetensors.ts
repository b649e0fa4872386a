/** One tensor of a safetensors file: where its bytes lie and what they are. */
export interface TensorView {
  /** As the format spells it: "I8", "F32", ... */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Into the buffer that was read; a multiple of nothing in general. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

export interface SafetensorsIndex {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorView>;
}

const MAX_HEADER_BYTES = 1 << 20;

interface Entry {
  readonly dtype: string;
  readonly shape: number[];
  readonly data_offsets: [number, number];
}

/**
 * Reads the index of a safetensors file (u64 header length, JSON header, data) held in `bytes`; `decode` is the
 * runtime's UTF-8 decoder. Throws Error on anything malformed, a tensor beyond the file's end included.
 */
export function readSafetensorsIndex(
  bytes: Uint8Array<ArrayBufferLike>,
  decode: (utf8: Uint8Array<ArrayBuffer>) => string,
): SafetensorsIndex {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = bytes.length >= 8 ? Number(view.getBigUint64(0, true)) : Infinity;
  if (headerBytes > Math.min(MAX_HEADER_BYTES, bytes.length - 8)) throw new Error("not a safetensors file");
  // A copy, as decoders refuse shared memory.
  const header = JSON.parse(decode(Uint8Array.from(bytes.subarray(8, 8 + headerBytes)))) as Record<string, Entry>;
  const { __metadata__, ...entries } = header;
  const tensors = new Map<string, TensorView>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(entries)) {
    const [from, to] = data_offsets;
    const byteOffset = bytes.byteOffset + 8 + headerBytes + from;
    if (!(from >= 0 && to >= from && byteOffset + to - from <= bytes.byteOffset + bytes.length)) {
      throw new Error(`tensor ${name} lies outside the file`);
    }
    tensors.set(name, { dtype, shape, byteOffset, byteLength: to - from });
  }
  return { metadata: (__metadata__ as unknown as Record<string, string> | undefined) ?? {}, tensors };
}
