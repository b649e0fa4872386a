import type { PairQuery } from "../lattice.ts";

/** Lists of numbers as the byte fields of a frame (codec.ts), and back. All little-endian. */

/** Bytes per token id: the least that holds every id of the field. */
export type TokenWidth = 2 | 4;

/** [width, bytes] */
export function tokens(ids: ArrayLike<number>): [TokenWidth, Uint8Array] {
  let largest = 0;
  for (let i = 0; i < ids.length; i++) largest = Math.max(largest, ids[i]!);
  const width = largest <= 0xffff ? 2 : 4;
  const bytes = new Uint8Array(ids.length * width);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < ids.length; i++) {
    if (width === 2) view.setUint16(i * 2, ids[i]!, true);
    else view.setUint32(i * 4, ids[i]!, true);
  }
  return [width, bytes];
}

export function unpackTokens(width: TokenWidth, bytes: Uint8Array): Uint32Array {
  const view = viewOf(bytes);
  const ids = new Uint32Array(bytes.length / width);
  for (let i = 0; i < ids.length; i++) ids[i] = width === 2 ? view.getUint16(i * 2, true) : view.getUint32(i * 4, true);
  return ids;
}

export function float16(values: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(values.length * 2);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < values.length; i++) view.setFloat16(i * 2, values[i]!, true);
  return bytes;
}

export function unpackFloat16(bytes: Uint8Array): Float32Array {
  const view = viewOf(bytes);
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) values[i] = view.getFloat16(i * 2, true);
  return values;
}

export function float32(values: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < values.length; i++) view.setFloat32(i * 4, values[i]!, true);
  return bytes;
}

export function unpackFloat32(bytes: Uint8Array): Float32Array {
  const view = viewOf(bytes);
  const values = new Float32Array(bytes.length / 4);
  for (let i = 0; i < values.length; i++) values[i] = view.getFloat32(i * 4, true);
  return values;
}

/** Of both scales of a query, which precede its values. */
export const SCALE_BYTES = 8;

export function query({ values, scales }: PairQuery): Uint8Array {
  const bytes = new Uint8Array(SCALE_BYTES + values.length);
  bytes.set(float32(scales));
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.length), SCALE_BYTES);
  return bytes;
}

/** Of fewer bytes than scales take: scales that are NaN. */
export function unpackQuery(bytes: Uint8Array): PairQuery {
  const [m = Number.NaN, q = Number.NaN] = unpackFloat32(bytes.subarray(0, SCALE_BYTES));
  return { values: Int8Array.from(bytes.subarray(SCALE_BYTES)), scales: [m, q] };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
