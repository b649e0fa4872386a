import type { Graph } from "./graph.ts";
import { BLOCK, type Matrix } from "./matrix.ts";

/** A matrix placed in a graph: usable as a linear map and as a table of rows, stored once. */
export interface PlacedMatrix {
  readonly matrix: Matrix;
  readonly values: string;
  readonly scales: string;
  readonly zeroPoints: string;
}

export function placeMatrix(graph: Graph, name: string, matrix: Matrix): PlacedMatrix {
  const { rows, columns } = matrix;
  if (matrix.kind === "dense") {
    return { matrix, values: graph.constant(name, matrix.values, [rows, columns]), scales: "", zeroPoints: "" };
  }
  const blocks = columns / BLOCK;
  const { codes, scales, zeroPoints } = matrix;
  return {
    matrix,
    values: graph.constant(name, codes, [rows, blocks, (BLOCK * matrix.bits) / 8]),
    scales: graph.constant(`${name}.scales`, scales, [rows, blocks]),
    zeroPoints: zeroPoints ? graph.constant(`${name}.zeros`, zeroPoints, [rows, Math.ceil(blocks / 2)]) : "",
  };
}

/** x [M, columns] -> x times the transposed matrix, [M, rows]. */
export function multiply(graph: Graph, x: string, placed: PlacedMatrix): string {
  const { matrix } = placed;
  if (matrix.kind === "dense") return graph.node("Gemm", [x, placed.values], { transB: 1 });
  const inputs = [x, placed.values, placed.scales];
  if (placed.zeroPoints !== "") inputs.push(placed.zeroPoints);
  return graph.node("MatMulNBits", inputs, {
    K: matrix.columns,
    N: matrix.rows,
    bits: matrix.bits,
    block_size: BLOCK,
    // Activations in blocks of int8, as llama.cpp has them: the kernel that is fast on CPUs.
    accuracy_level: 4,
  });
}

/** ids [M] -> those rows as floats, [M, columns]. Not for 4 bits, which no operator here unpacks. */
export function lookUp(graph: Graph, ids: string, placed: PlacedMatrix): string {
  const { matrix } = placed;
  const rows = graph.node("Gather", [placed.values, ids]);
  if (matrix.kind === "dense") return rows;
  if (matrix.bits !== 8) throw new Error("a table to look up needs 8-bit codes");
  const zero = graph.constant(`${placed.values}.zero`, Float32Array.of(128), []);
  const signed = graph.node("Sub", [graph.node("Cast", [rows], { to: 1 }), zero]);
  const scales = graph.node("Unsqueeze", [graph.node("Gather", [placed.scales, ids]), graph.ints(2)]);
  return graph.node("Reshape", [graph.node("Mul", [signed, scales]), graph.ints(-1, matrix.columns)]);
}
