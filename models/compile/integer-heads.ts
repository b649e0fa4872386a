import { Rotation, randomSign } from "../../shared/rotation.ts";
import type { LlamaWeights } from "../llama.ts";
import type { SafeTensors } from "../safetensors.ts";
import { floatsOf, type PendingTensor, type Written, writeSafetensors } from "../safetensors-writer.ts";
import { type Dense, scaleColumns, scaleRows, stackRows, toBytes } from "./dense.ts";
import { headsInfo } from "./heads.ts";
import { afterTransform, matrix, reading, writing } from "./integer.ts";

/** What the kernel takes at a time of each size. */
const UNIT = 8;
/** Least size of a weight of the final norm that is divided by, as a share of their root mean square. */
const LEAST_NORM = 1 / 16;

/**
 * The draft heads of an integer model (models/README.md), in its bases: features and states in that of
 * `Rotation(width)`, the hidden layer after signs and a Hadamard transform by blocks. The matrix of the base model's
 * output has the final norm's weights in it and is used as it is, so the states are divided by them. Throws Error
 * where a size is not one that the kernel takes.
 * @param pair pair scores, whose queries the hidden layer makes
 */
export async function writeIntegerHeads(
  path: string,
  llama: LlamaWeights,
  file: SafeTensors,
  topK: number,
  pair: SafeTensors | null = null,
): Promise<Written> {
  const { width } = llama.config;
  const { count, copy } = headsInfo(file);
  const [inner, inputs] = file.get("trunk.weight").shape as [number, number];
  const draftIds = file.get("draft_ids").values as Int32Array;
  checkSizes(inner, draftIds.length, topK);
  const rotation = new Rotation(width);
  const norm = await llama.outputNorm();
  const size = rootMeanSquare(norm);
  const divisors = norm.map((value) => (value < 0 ? -1 : 1) * Math.max(Math.abs(value), LEAST_NORM * size));
  const finalNorm = norm.map((value) => value / size);
  const tensors: PendingTensor[] = [
    ...matrix("trunk", inputs, inner, async () => toBytes(trunk(file, finalNorm, rotation))),
    ...matrix("heads", inner, count * width, async () => toBytes(heads(file, count, divisors, rotation))),
    { name: "bias", dtype: "F32", shape: [count, width], make: () => biases(file, count, divisors, rotation) },
    { name: "final_norm", dtype: "F32", shape: [width], make: () => finalNorm },
    { name: "draft_ids", dtype: "I32", shape: [draftIds.length], make: () => draftIds },
  ];
  if (copy !== null) {
    const make = () => file.floats("copy.gate_weight");
    tensors.push({ name: "gates", dtype: "F32", shape: [count, inner], make });
  }
  if (pair !== null) tensors.push(floatsOf(pair, "query.weight"), floatsOf(pair, "query.bias"));
  return await writeSafetensors(path, tensors, () => undefined);
}

function checkSizes(inner: number, draftVocab: number, topK: number): void {
  for (const [name, size] of Object.entries({ "hidden layer": inner, "draft vocabulary": draftVocab })) {
    if (size % UNIT === 0) continue;
    throw new Error(
      `int8 needs draft heads with a ${name} that is a multiple of ${UNIT}, not ${size}: take --precision fp32`,
    );
  }
  if (topK > draftVocab) throw new Error(`the draft vocabulary has ${draftVocab} tokens, fewer than topK ${topK}`);
}

function rootMeanSquare(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}

/** A matrix of the file, to be changed. */
function dense(file: SafeTensors, name: string): Dense {
  const [rows, columns] = file.get(name).shape as [number, number];
  return { rows, columns, values: Float32Array.from(file.floats(name)) };
}

/** Reads the features, of which the final state, last but the bonus token's, comes without its norm's weights. */
function trunk(file: SafeTensors, finalNorm: Float32Array, rotation: Rotation): Dense {
  const weights = dense(file, "trunk.weight");
  const inNorm = Float32Array.from(file.floats("in_norm.weight"));
  const first = inNorm.length - 2 * finalNorm.length;
  for (const [i, value] of finalNorm.entries()) inNorm[first + i]! *= value;
  return reading(weights, inNorm, rotation);
}

/** Reads the hidden layer after signs and transform, and writes states, one head's after the other. */
function heads(file: SafeTensors, count: number, divisors: Float32Array, rotation: Rotation): Dense {
  const parts = Array.from({ length: count }, (_, j) => {
    const weights = dense(file, `head.${j}.weight`);
    scaleRows(weights, (row) => 1 / divisors[row]!);
    scaleColumns(
      weights,
      Float32Array.from({ length: weights.columns }, (_, i) => randomSign(i)),
    );
    return writing(afterTransform(weights), rotation);
  });
  return stackRows(parts);
}

function biases(file: SafeTensors, count: number, divisors: Float32Array, rotation: Rotation): Float32Array {
  const all = Array.from({ length: count }, (_, j) => file.floats(`head.${j}.bias`).map((v, i) => v / divisors[i]!));
  const values = Float32Array.from(all.flatMap((bias) => [...bias]));
  rotation.apply(values);
  return values;
}
