import type { SafeTensors } from "../../models/safetensors.ts";
import { type PendingTensor, writeSafetensors } from "../../models/safetensors-writer.ts";
import type { Random } from "../helpers/random.ts";

/** Files of pair scores of the shapes in models/README.md, by tensor. */
export type PairTensors = Readonly<Record<string, { shape: number[]; values: Float32Array | Int32Array }>>;

/** Random ones for `ids`, of draft heads whose hidden layer is `inner` wide. */
export function randomPair(ids: readonly number[], rank: number, inner: number, random: Random): PairTensors {
  const floats = (...shape: number[]) => {
    const length = shape.reduce((a, b) => a * b);
    return { shape, values: Float32Array.from({ length }, () => random.unit() - 0.5) };
  };
  const table = () => ({
    shape: [ids.length, rank],
    values: Int32Array.from({ length: ids.length * rank }, () => random.int(-127, 127)),
  });
  return {
    ids: { shape: [ids.length], values: Int32Array.from(ids) },
    first: table(),
    "first.scales": floats(ids.length),
    second: table(),
    "second.scales": floats(ids.length),
    bias: floats(ids.length),
    "query.weight": floats(2 * rank, inner),
    "query.bias": floats(2 * rank),
  };
}

export function inMemory(tensors: PairTensors): SafeTensors {
  return {
    metadata: {},
    has: (name) => Object.hasOwn(tensors, name),
    get: (name) => tensors[name]!,
    floats: (name) => tensors[name]!.values as Float32Array,
  };
}

export async function writePairFile(path: string, tensors: PairTensors): Promise<void> {
  const pending = Object.entries(tensors).map(([name, { shape, values }]): PendingTensor => {
    if (values instanceof Float32Array) return { name, dtype: "F32", shape, make: () => values };
    return name === "ids"
      ? { name, dtype: "I32", shape, make: () => values }
      : { name, dtype: "I8", shape, make: () => Int8Array.from(values) };
  });
  await writeSafetensors(path, pending, () => undefined);
}

/** [2 rank] query.weight u + query.bias, in float64. */
export function queryOf(tensors: PairTensors, u: readonly number[]): number[] {
  const { values: weight } = tensors["query.weight"]!;
  return Array.from(tensors["query.bias"]!.values, (bias, row) =>
    u.reduce((sum, value, i) => sum + value * weight[row * u.length + i]!, bias),
  );
}
