import { blockBytes, blockSize } from "./dequantise.ts";
import type { StoredTensor } from "./gguf.ts";

/** Consecutive rows as tensors of their own, over the same bytes. */
export function cutRows(tensor: StoredTensor, counts: readonly number[]): StoredTensor[] {
  const rowBytes = tensor.data.length / tensor.rows;
  let at = 0;
  return counts.map((rows) => {
    const data = tensor.data.subarray(at * rowBytes, (at + rows) * rowBytes);
    at += rows;
    return { ...tensor, rows, data };
  });
}

/** Where a row of interleaved heads belongs. */
export function halfSplitRow(row: number, headDim: number): number {
  const within = row % headDim;
  return row - within + (within & 1) * (headDim / 2) + (within >> 1);
}

/**
 * llama.cpp's converter interleaves the two halves of every rotary head (rows r and r + headDim / 2
 * become neighbours). This puts them back. Rows are whole blocks, so bytes move and no value changes.
 */
export function halfSplitRows(tensor: StoredTensor, heads: number): StoredTensor {
  const rowBytes = (tensor.columns / blockSize(tensor.type)) * blockBytes(tensor.type);
  const headDim = tensor.rows / heads;
  const data = new Uint8Array(tensor.data.length);
  // Of a file's outline.
  if (data.length === 0) return tensor;
  for (let row = 0; row < tensor.rows; row++) {
    const to = halfSplitRow(row, headDim);
    data.set(tensor.data.subarray(row * rowBytes, (row + 1) * rowBytes), to * rowBytes);
  }
  return { ...tensor, data };
}
