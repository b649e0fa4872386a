import type { Precision } from "../../shared/manifest.ts";
import { GGML } from "../dequantise.ts";
import { type StoredTensor, toFloats } from "../gguf.ts";
import type { SafeTensors } from "../safetensors.ts";
import { FLOAT, FLOAT16, type GraphBuilder, type Value } from "./graph.ts";

const BLOCK = 32;
/** The value a byte of 128 stands for is 0: MatMulNBits' default zero point for 8 bits. */
const ZERO = 128;

/**
 * A weight matrix [rows, columns] stored once in a graph, ready to multiply with or to look rows up in: there, or in
 * a graph inside it.
 */
export interface Matrix {
  /** x [M, columns] -> x W^T [M, rows]. */
  multiply(x: Value, inside?: GraphBuilder): Value;
  /** ids int32 [N] -> rows [N, columns]. */
  lookUp(ids: Value, inside?: GraphBuilder): Value;
}

/** 8-bit blocks of 32 along a row: byte = round(weight / scale) + 128. */
interface Blocks {
  readonly bytes: Uint8Array;
  readonly scales: Float32Array;
}

/** A trained matrix that no graph holds yet. */
export interface Weights {
  readonly rows: number;
  readonly columns: number;
  /** Row-major [rows, columns]. */
  floats(): Float32Array;
  blocks(): Blocks;
}

export function weightsOf(tensor: StoredTensor): Weights {
  const { rows, columns } = tensor;
  const floats = () => toFloats(tensor);
  return {
    rows,
    columns,
    floats,
    blocks: () => (tensor.type === GGML.Q8_0 ? fromQ8(tensor.data) : toBlocks(floats())),
  };
}

function fromFloats(rows: number, columns: number, floats: () => Float32Array): Weights {
  return { rows, columns, floats, blocks: () => toBlocks(floats()) };
}

/** A matrix of a safetensors file. */
export function dense(file: SafeTensors, name: string): Weights {
  const { shape } = file.get(name);
  return fromFloats(shape[0]!, shape[1]!, () => file.floats(name));
}

/** Rows picked (and so reordered) from `source`: row i of the result is row order[i]. */
export function pickRows(source: Weights, order: ArrayLike<number>): Weights {
  const { columns } = source;
  return {
    rows: order.length,
    columns,
    floats: () => pick(source.floats(), order, columns),
    blocks: () => {
      const { bytes, scales } = source.blocks();
      return { bytes: pick(bytes, order, columns), scales: pick(scales, order, columns / BLOCK) };
    },
  };
}

/** Matrices of equal width, one below the other. */
export function stack(parts: readonly Weights[]): Weights {
  const columns = parts[0]!.columns;
  return {
    rows: parts.reduce((sum, p) => sum + p.rows, 0),
    columns,
    floats: () => concat(parts.map((p) => p.floats())),
    blocks: () => {
      const all = parts.map((p) => p.blocks());
      return { bytes: concat(all.map((b) => b.bytes)), scales: concat(all.map((b) => b.scales)) };
    },
  };
}

/**
 * What goes in and comes out is float32 in any precision: in "fp16" the products alone are float16, in "int8" the weights, in blocks of
 * 32 where the width allows it.
 */
export function addMatrix(graph: GraphBuilder, name: string, weights: Weights, precision: Precision): Matrix {
  const { rows, columns } = weights;
  if (precision === "fp16") {
    const table = graph.halves(name, weights.floats(), [rows, columns]);
    const cast = (x: Value, to: number, at: GraphBuilder) => at.op("Cast", [x], { to });
    return {
      multiply: (x, at = graph) => cast(at.op("Gemm", [cast(x, FLOAT16, at), table], { transB: 1 }), FLOAT, at),
      lookUp: (ids, at = graph) => cast(at.op("Gather", [table, ids], { axis: 0 }), FLOAT, at),
    };
  }
  if (precision === "fp32" || columns % BLOCK !== 0) {
    const table = graph.floats(name, weights.floats(), [rows, columns]);
    return {
      multiply: (x, at = graph) => at.op("Gemm", [x, table], { transB: 1 }),
      lookUp: (ids, at = graph) => at.op("Gather", [table, ids], { axis: 0 }),
    };
  }
  const blocks = columns / BLOCK;
  const quantised = weights.blocks();
  const bytes = graph.bytes(`${name}.q`, quantised.bytes, [rows, blocks, BLOCK]);
  const scales = graph.floats(`${name}.s`, quantised.scales, [rows, blocks]);
  let zero: Value | null = null;
  return {
    multiply: (x, at = graph) =>
      at.op("MatMulNBits", [x, bytes, scales], {
        K: columns,
        N: rows,
        bits: 8,
        block_size: BLOCK,
        accuracy_level: 4,
      }),
    lookUp: (ids, at = graph) => {
      zero ??= graph.scalar(`${name}.zero`, ZERO);
      const q = at.op("Cast", [at.op("Gather", [bytes, ids], { axis: 0 })], { to: FLOAT });
      const centred = at.op("Sub", [q, zero]);
      const scale = at.op("Unsqueeze", [at.op("Gather", [scales, ids], { axis: 0 }), at.ints([2])]);
      return at.op("Reshape", [at.op("Mul", [centred, scale]), at.ints([-1, columns])]);
    },
  };
}

/** Q8_0 is the same layout up to the zero point: nothing is lost. */
function fromQ8(stored: Uint8Array): Blocks {
  const count = stored.length / 34;
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  const halves = new Float16Array(stored.buffer, stored.byteOffset, stored.length / 2);
  const bytes = new Uint8Array(count * BLOCK);
  const scales = new Float32Array(count);
  for (let b = 0; b < count; b++) {
    scales[b] = halves[b * 17]!;
    for (let i = 0; i < BLOCK; i++) bytes[b * BLOCK + i] = view.getInt8(b * 34 + 2 + i) + ZERO;
  }
  return { bytes, scales };
}

function toBlocks(values: Float32Array): Blocks {
  const count = values.length / BLOCK;
  const bytes = new Uint8Array(values.length);
  const scales = new Float32Array(count);
  for (let b = 0; b < count; b++) {
    let largest = 0;
    for (let i = 0; i < BLOCK; i++) largest = Math.max(largest, Math.abs(values[b * BLOCK + i]!));
    const scale = largest / 127 || 1;
    scales[b] = scale;
    for (let i = 0; i < BLOCK; i++) bytes[b * BLOCK + i] = Math.round(values[b * BLOCK + i]! / scale) + ZERO;
  }
  return { bytes, scales };
}

function pick<A extends Uint8Array | Float32Array>(source: A, order: ArrayLike<number>, width: number): A {
  const out = source.slice(0, 0);
  const target =
    out instanceof Float32Array ? new Float32Array(order.length * width) : new Uint8Array(order.length * width);
  for (let i = 0; i < order.length; i++) {
    target.set(source.subarray(order[i]! * width, (order[i]! + 1) * width), i * width);
  }
  return target as A;
}

function concat<A extends Uint8Array | Float32Array>(parts: readonly A[]): A {
  const total = parts.reduce((sum, p) => sum + p.length, 0);
  const out = parts[0] instanceof Float32Array ? new Float32Array(total) : new Uint8Array(total);
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out as A;
}
