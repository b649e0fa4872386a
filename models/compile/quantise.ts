/** Float rows as blocks of integer codes for MatMulNBits (layout: BlockMatrix in matrix.ts). */

const BLOCK = 32;
/** 2 bytes of scale, then 32 signed codes. */
const Q8_0_BYTES = 34;

interface Blocks8 {
  readonly bits: 8;
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeroPoints: null;
}
interface Blocks4 {
  readonly bits: 4;
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeroPoints: Uint8Array;
}

/** GGML's Q8_0 blocks, exactly: the signed code moves up by 128, the zero point of MatMulNBits. */
export function splitQ8_0(data: Uint8Array): Blocks8 {
  const blocks = data.length / Q8_0_BYTES;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const codes = new Uint8Array(blocks * BLOCK);
  const scales = new Float32Array(blocks);
  for (let b = 0; b < blocks; b++) {
    scales[b] = view.getFloat16(b * Q8_0_BYTES, true);
    for (let i = 0; i < BLOCK; i++) codes[b * BLOCK + i] = data[b * Q8_0_BYTES + 2 + i]! ^ 128;
  }
  return { bits: 8, codes, scales, zeroPoints: null };
}

/** Symmetric: scale = largest magnitude / 127. */
export function quantise8(values: Float32Array): Blocks8 {
  const blocks = values.length / BLOCK;
  const codes = new Uint8Array(values.length);
  const scales = new Float32Array(blocks);
  for (let b = 0; b < blocks; b++) {
    let largest = 0;
    for (let i = b * BLOCK; i < (b + 1) * BLOCK; i++) largest = Math.max(largest, Math.abs(values[i]!));
    const scale = largest / 127;
    const inverse = scale === 0 ? 0 : 1 / scale;
    scales[b] = scale;
    for (let i = b * BLOCK; i < (b + 1) * BLOCK; i++) codes[i] = Math.round(values[i]! * inverse) + 128;
  }
  return { bits: 8, codes, scales, zeroPoints: null };
}

/** How much of the range a scale may give up: clipping the ends can lower the error of the rest. */
const SHRINK = [1, 0.95, 0.9];

/**
 * Asymmetric with an integer zero point: of the two zero points next to the exact one and a few scales,
 * the pair with the least squared error. MatMulNBits' fast kernel takes no fractional zero point.
 */
export function quantise4(values: Float32Array, columns: number): Blocks4 {
  const perRow = columns / BLOCK;
  const rows = values.length / columns;
  const codes = new Uint8Array(values.length / 2);
  const scales = new Float32Array(rows * perRow);
  const zeroBytes = Math.ceil(perRow / 2);
  const zeroPoints = new Uint8Array(rows * zeroBytes);
  for (let b = 0; b < scales.length; b++) {
    const { scale, zero } = fit4(values, b * BLOCK);
    const at = Math.floor(b / perRow) * zeroBytes + ((b % perRow) >> 1);
    scales[b] = scale;
    zeroPoints[at]! |= zero << (4 * ((b % perRow) & 1));
    for (let i = b * BLOCK; i < (b + 1) * BLOCK; i += 2) {
      codes[i / 2] = code4(values[i]!, scale, zero) | (code4(values[i + 1]!, scale, zero) << 4);
    }
  }
  return { bits: 4, codes, scales, zeroPoints };
}

function code4(value: number, scale: number, zero: number): number {
  return scale === 0 ? zero : Math.min(15, Math.max(0, Math.round(value / scale) + zero));
}

function fit4(values: Float32Array, from: number): { scale: number; zero: number } {
  let low = 0;
  let high = 0;
  for (let i = from; i < from + BLOCK; i++) {
    low = Math.min(low, values[i]!);
    high = Math.max(high, values[i]!);
  }
  if (low === high) return { scale: 0, zero: 8 };
  const exact = (-15 * low) / (high - low);
  let best = { scale: 0, zero: 0 };
  let least = Number.POSITIVE_INFINITY;
  for (const zero of [Math.floor(exact), Math.ceil(exact)]) {
    const whole = Math.max(zero < 15 ? high / (15 - zero) : 0, zero > 0 ? -low / zero : 0);
    for (const shrink of SHRINK) {
      const scale = Math.fround(whole * shrink);
      let error = 0;
      for (let i = from; i < from + BLOCK; i++) {
        error += (values[i]! - scale * (code4(values[i]!, scale, zero) - zero)) ** 2;
      }
      if (error < least) {
        least = error;
        best = { scale, zero };
      }
    }
  }
  return best;
}
