/**
 * The GGML types whose blocks hold 256 values, in sub-blocks with scales of their own. Each function writes the block at
 * byte `at` of `view` to `out`, from value `to` on.
 */

/** The steps of the IQ4 types. */
export const IQ4_VALUES = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] as const;

/** Sixteen sub-blocks of 16: d * scale * q - dmin * min, with 4-bit scales and mins. */
export function decodeQ2_K(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at + 80, true);
  const dmin = view.getFloat16(at + 82, true);
  for (let i = 0; i < 256; i++) {
    const packed = view.getUint8(at + (i >> 4));
    const q = (view.getUint8(at + 16 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
    out[to + i] = d * (packed & 15) * q - dmin * (packed >> 4);
  }
}

/** Sixteen sub-blocks of 16: d * (scale - 32) * q, q of 2 low bits and a third that takes 4 away where it is not set. */
export function decodeQ3_K(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at + 108, true);
  const packed = at + 96;
  for (let i = 0; i < 256; i++) {
    const sub = i >> 4;
    const low = (view.getUint8(packed + (sub & 7)) >> (4 * (sub >> 3))) & 15;
    const high = (view.getUint8(packed + 8 + (sub & 3)) >> (2 * (sub >> 2))) & 3;
    const q = (view.getUint8(at + 32 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
    const third = (view.getUint8(at + (i & 31)) >> (i >> 5)) & 1;
    out[to + i] = d * ((low | (high << 4)) - 32) * (q - 4 * (1 - third));
  }
}

/** The 6-bit scale and min of one of eight sub-blocks, packed in 12 bytes from `at`. */
function scaleAndMin(view: DataView, at: number, sub: number): [scale: number, min: number] {
  const packed = (i: number) => view.getUint8(at + i);
  if (sub < 4) return [packed(sub) & 63, packed(sub + 4) & 63];
  return [(packed(sub + 4) & 15) | ((packed(sub - 4) >> 6) << 4), (packed(sub + 4) >> 4) | ((packed(sub) >> 6) << 4)];
}

/** Eight sub-blocks of 32: d * scale * q - dmin * min. */
export function decodeQ4_K(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at, true);
  const dmin = view.getFloat16(at + 2, true);
  for (let sub = 0; sub < 8; sub++) {
    const [scale, min] = scaleAndMin(view, at + 4, sub);
    const codes = at + 16 + 32 * (sub >> 1);
    const shift = (sub & 1) * 4;
    for (let i = 0; i < 32; i++) {
      out[to + 32 * sub + i] = d * scale * ((view.getUint8(codes + i) >> shift) & 15) - dmin * min;
    }
  }
}

/** As Q4_K, with a fifth bit of each value. */
export function decodeQ5_K(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at, true);
  const dmin = view.getFloat16(at + 2, true);
  for (let sub = 0; sub < 8; sub++) {
    const [scale, min] = scaleAndMin(view, at + 4, sub);
    const codes = at + 48 + 32 * (sub >> 1);
    const shift = (sub & 1) * 4;
    for (let i = 0; i < 32; i++) {
      const fifth = (view.getUint8(at + 16 + i) >> sub) & 1;
      const q = ((view.getUint8(codes + i) >> shift) & 15) | (fifth << 4);
      out[to + 32 * sub + i] = d * scale * q - dmin * min;
    }
  }
}

/** Sixteen sub-blocks of 16: d * scale * (q - 32), q of 4 low bits and 2 high bits, scale signed. */
export function decodeQ6_K(view: DataView, at: number, out: Float32Array, to: number): void {
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

/** Eight sub-blocks of 32: d * (scale - 32) * one of sixteen uneven steps. */
export function decodeIQ4_XS(view: DataView, at: number, out: Float32Array, to: number): void {
  const d = view.getFloat16(at, true);
  const high = view.getUint16(at + 2, true);
  for (let sub = 0; sub < 8; sub++) {
    const low = (view.getUint8(at + 4 + (sub >> 1)) >> (4 * (sub & 1))) & 15;
    const scale = d * ((low | (((high >> (2 * sub)) & 3) << 4)) - 32);
    for (let i = 0; i < 16; i++) {
      const byte = view.getUint8(at + 8 + 16 * sub + i);
      out[to + 32 * sub + i] = scale * IQ4_VALUES[byte & 15]!;
      out[to + 32 * sub + 16 + i] = scale * IQ4_VALUES[byte >> 4]!;
    }
  }
}
