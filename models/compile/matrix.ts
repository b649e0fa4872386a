import { assert } from "../../shared/assert.ts";
import { GGML } from "../dequantise.ts";
import { type StoredTensor, toFloats } from "../gguf.ts";
import { quantise4, quantise8, splitQ8_0 } from "./quantise.ts";

/** How weight matrices are laid out in the graphs. Vectors are always float32. */
export const PRECISIONS = ["int8", "int4", "fp32"] as const;
export type Precision = (typeof PRECISIONS)[number];

/** Values that share one scale: 32 neighbours of one row, as in GGML. */
export const BLOCK = 32;

export interface DenseMatrix {
  readonly kind: "dense";
  readonly rows: number;
  readonly columns: number;
  /** [rows, columns] */
  readonly values: Float32Array;
}

/** value = scale * (code - zero point), in the layout of onnxruntime's MatMulNBits. */
export interface BlockMatrix {
  readonly kind: "blocks";
  readonly rows: number;
  readonly columns: number;
  readonly bits: 4 | 8;
  /** [rows, columns * bits / 8]; of two 4-bit codes in a byte the first is the low one. */
  readonly codes: Uint8Array;
  /** [rows, columns / BLOCK] */
  readonly scales: Float32Array;
  /** 4 bits: [rows, ceil(columns / BLOCK / 2)], packed as codes. 8 bits: null, every zero point is 128. */
  readonly zeroPoints: Uint8Array | null;
}

export type Matrix = DenseMatrix | BlockMatrix;

/** Lays a stored tensor out; a Q8_0 one keeps its very values under int8. */
export function toMatrix(tensor: StoredTensor, precision: Precision): Matrix {
  const { rows, columns } = tensor;
  if (precision === "int8" && tensor.type === GGML.Q8_0)
    return { ...splitQ8_0(tensor.data), kind: "blocks", rows, columns };
  return layOut({ kind: "dense", rows, columns, values: toFloats(tensor) }, precision);
}

export function layOut(matrix: DenseMatrix, precision: Precision): Matrix {
  if (precision === "fp32") return matrix;
  if (matrix.columns % BLOCK !== 0) {
    throw new Error(
      `${precision} needs rows of whole blocks of ${BLOCK}; this model has rows of ${matrix.columns}: use fp32`,
    );
  }
  const { rows, columns } = matrix;
  const blocks = precision === "int8" ? quantise8(matrix.values) : quantise4(matrix.values, columns);
  return { ...blocks, kind: "blocks", rows, columns };
}

/** The rows of all matrices, one below the other. All have the same layout and width. */
export function stackRows(matrices: readonly Matrix[]): Matrix {
  const first = matrices[0]!;
  const rows = matrices.reduce((sum, m) => sum + m.rows, 0);
  const alike = matrices.every((m) => m.kind === first.kind && m.columns === first.columns);
  assert(alike, "stacked matrices have the same layout and width");
  if (first.kind === "dense") {
    const values = new Float32Array(rows * first.columns);
    join(
      values,
      matrices.map((m) => (m as DenseMatrix).values),
    );
    return { ...first, rows, values };
  }
  const parts = matrices as readonly BlockMatrix[];
  const codes = new Uint8Array((rows * first.columns * first.bits) / 8);
  const scales = new Float32Array((rows * first.columns) / BLOCK);
  const zeroPoints = first.zeroPoints && new Uint8Array((first.zeroPoints.length / first.rows) * rows);
  join(
    codes,
    parts.map((m) => m.codes),
  );
  join(
    scales,
    parts.map((m) => m.scales),
  );
  if (zeroPoints)
    join(
      zeroPoints,
      parts.map((m) => m.zeroPoints!),
    );
  return { ...first, rows, codes, scales, zeroPoints };
}

function join<T extends Float32Array | Uint8Array>(into: T, parts: readonly T[]): void {
  let at = 0;
  for (const part of parts) {
    into.set(part, at);
    at += part.length;
  }
  assert(at === into.length, `${at} values for ${into.length} places`);
}

export function pickRows(matrix: Matrix, ids: Int32Array): Matrix {
  const rows = ids.length;
  if (matrix.kind === "dense") return { ...matrix, rows, values: pick(matrix.values, matrix.columns, ids) };
  const { codes, scales, zeroPoints } = matrix;
  return {
    ...matrix,
    rows,
    codes: pick(codes, codes.length / matrix.rows, ids),
    scales: pick(scales, scales.length / matrix.rows, ids),
    zeroPoints: zeroPoints && pick(zeroPoints, zeroPoints.length / matrix.rows, ids),
  };
}

function pick<T extends Float32Array | Uint8Array>(values: T, width: number, ids: Int32Array): T {
  const out =
    values.slice(0, 0).constructor === Float32Array
      ? new Float32Array(ids.length * width)
      : new Uint8Array(ids.length * width);
  ids.forEach((id, row) => out.set(values.subarray(id * width, (id + 1) * width), row * width));
  return out as T;
}

/** Every value times `factor`. */
export function scaleMatrix(matrix: Matrix, factor: number): Matrix {
  if (matrix.kind === "dense") return { ...matrix, values: matrix.values.map((v) => v * factor) };
  return { ...matrix, scales: matrix.scales.map((s) => s * factor) };
}
