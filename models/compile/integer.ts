import { LIMITS } from "../../shared/limits.ts";
import { hadamard, powerOfTwoIn, Rotation, randomSign } from "../../shared/rotation.ts";
import { type StoredTensor, toFloats } from "../gguf.ts";
import type { BlockConfig, LlamaConfig, LlamaLayer, LlamaWeights } from "../llama.ts";
import { type PendingTensor, type Written, writeSafetensors } from "../safetensors-writer.ts";
import {
  type Bytes,
  type Dense,
  rowsToBytes,
  scaleColumns,
  scaleRows,
  stackRows,
  toBytes,
  transpose,
} from "./dense.ts";

/** Largest block of the Hadamard transforms over feed-forward rows and the heads' hidden layer: larger ones gain no precision. */
const FFN_BLOCK = 64;

/** What the kernel takes at a time of each size. */
const VECTORS = { width: 8, headDim: 8, ffn: 8, vocabSize: 4 } as const;

/**
 * The weights of the integer model (models/README.md), eight bits each. The residual stream is kept in the basis of
 * `Rotation(width)`, values in that of `Rotation(headDim)`, and the feed-forward rows are transformed blockwise before
 * their product: all of that is folded into the matrices here, as are the norms' weights. Throws Error where a size of
 * the model is not one that the kernel takes.
 */
export async function writeIntegerModel(
  path: string,
  llama: LlamaWeights,
  onProgress: (done: number, total: number) => void,
): Promise<Written> {
  const { config } = llama;
  const fault = integerFault(config);
  if (fault !== null) throw new Error(`${fault}: take --precision fp32`);
  const { layers, width, vocabSize } = config;
  const rotation = new Rotation(width);
  const tensors: PendingTensor[] = [...lookUp("embedding", vocabSize, width, () => embedding(llama, rotation))];
  for (let i = 0; i < layers; i++) tensors.push(...layerTensors(llama, i, rotation));
  tensors.push(...matrix("output", width, vocabSize, async () => output(llama, rotation)), {
    name: "output_norm",
    dtype: "F32",
    shape: [width],
    make: () => llama.outputNorm(),
  });
  return await writeSafetensors(path, tensors, (done) => onProgress(done, tensors.length));
}

/** What the integer kernel has no program for; null: nothing. */
export function integerFault(config: LlamaConfig): string | null {
  for (const [name, unit] of Object.entries(VECTORS) as [keyof typeof VECTORS, number][]) {
    if (config[name] % unit !== 0) {
      return `int8 needs a ${name} that is a multiple of ${unit}, not ${config[name]}`;
    }
  }
  const reach = Math.min(config.contextTokens, LIMITS.contextTokens);
  const parts: readonly (readonly [string, boolean])[] = [
    ["gelu", config.activation !== "silu"],
    ["scaled embeddings", config.embeddingScale !== 1],
    ["capped scores", config.attentionCap !== null || config.logitCap !== null],
    ["a scale of scores that is not of their heads", config.attentionScale !== 1 / Math.sqrt(config.headDim)],
    ["norms of what a block adds", config.postNorms],
    ["attention through a window", config.blocks.some(({ window }) => window !== null && window < reach)],
    ["frequencies of some blocks' own", config.blocks.some(hasOwnFrequencies)],
    ["norms of queries and keys", config.headNorms],
    ["biases", config.biases],
    ["blocks that do not rotate", config.blocks.some(({ ropeFrequencies }) => ropeFrequencies === null)],
  ];
  const missing = parts.filter(([, needed]) => needed).map(([name]) => name);
  return missing.length === 0 ? null : `int8 does without ${missing.join(", ")}`;

  function hasOwnFrequencies({ ropeFrequencies }: BlockConfig): boolean {
    return ropeFrequencies !== null && ropeFrequencies !== config.ropeFrequencies;
  }
}

/** [K, N] bytes, multiplied from the left, with [N] scales and offsets. */
export function matrix(name: string, K: number, N: number, make: () => Promise<Bytes>): PendingTensor[] {
  const made = once(make);
  return [
    { name, dtype: "I8", shape: [K, N], make: async () => (await made.get()).values },
    { name: `${name}.scales`, dtype: "F32", shape: [N], make: async () => (await made.get()).scales },
    { name: `${name}.offsets`, dtype: "I32", shape: [N], make: async () => (await made.take()).offsets },
  ];
}

/** [rows, columns] bytes to look rows up in, with [rows] scales. */
function lookUp(name: string, rows: number, columns: number, make: () => Promise<Pick<Bytes, "values" | "scales">>) {
  const made = once(make);
  const tensors: PendingTensor[] = [
    { name, dtype: "I8", shape: [rows, columns], make: async () => (await made.get()).values },
    { name: `${name}.scales`, dtype: "F32", shape: [rows], make: async () => (await made.take()).scales },
  ];
  return tensors;
}

/** Makes a value once, for several tensors in a row; `take` lets go of it. */
function once<T>(make: () => Promise<T>) {
  let value: Promise<T> | null = null;
  const get = () => (value ??= make());
  return {
    get,
    take() {
      const last = get();
      value = null;
      return last;
    },
  };
}

function dense(tensor: StoredTensor): Dense {
  return { rows: tensor.rows, columns: tensor.columns, values: toFloats(tensor) };
}

async function embedding(llama: LlamaWeights, rotation: Rotation) {
  const table = dense(await llama.embedding());
  rotation.apply(table.values);
  return rowsToBytes(table);
}

async function output(llama: LlamaWeights, rotation: Rotation): Promise<Bytes> {
  const weights = dense((await llama.output()) ?? (await llama.embedding()));
  return toBytes(reading(weights, await llama.outputNorm(), rotation));
}

function layerTensors(llama: LlamaWeights, index: number, rotation: Rotation): PendingTensor[] {
  const { width, heads, kvHeads, headDim, ffn } = llama.config;
  const layer = once(() => llama.layer(index));
  const name = (part: string) => `blocks.${index}.${part}`;
  return [
    ...matrix(name("qkv"), width, (heads + 2 * kvHeads) * headDim, async () =>
      toBytes(attentionInputs(await layer.get(), llama.config, rotation)),
    ),
    ...matrix(name("attention_out"), heads * headDim, width, async () =>
      toBytes(attentionOutput(await layer.get(), llama.config, rotation)),
    ),
    ...matrix(name("gate_up"), width, 2 * ffn, async () => {
      const { gate, up, ffnNorm } = await layer.get();
      const signed = dense(up);
      scaleRows(signed, (row) => randomSign(row));
      return toBytes(reading(stackRows([dense(gate), signed]), ffnNorm, rotation));
    }),
    ...matrix(name("down"), ffn, width, async () => toBytes(down(await layer.take(), llama.config, rotation))),
  ];
}

/** A matrix that reads the normalised residual stream: [rows, width]. */
export function reading(weights: Dense, norm: Float32Array, rotation: Rotation): Dense {
  scaleColumns(weights, norm);
  rotation.apply(weights.values);
  return weights;
}

/** A matrix that writes to the residual stream: [width, columns]. */
export function writing(weights: Dense, rotation: Rotation): Dense {
  const turned = transpose(weights);
  rotation.apply(turned.values);
  return transpose(turned);
}

function attentionInputs({ q, k, v, attnNorm }: LlamaLayer, { headDim }: LlamaConfig, rotation: Rotation): Dense {
  const queries = dense(q);
  const keys = dense(k);
  // The rotary embedding turns i and i + headDim / 2 into one another: they share a sign.
  for (const part of [queries, keys]) scaleRows(part, (row) => randomSign(row % (headDim / 2)));
  return reading(stackRows([queries, keys, writing(dense(v), new Rotation(headDim))]), attnNorm, rotation);
}

function attentionOutput({ attnOutput }: LlamaLayer, { headDim }: LlamaConfig, rotation: Rotation): Dense {
  const weights = dense(attnOutput);
  new Rotation(headDim).apply(weights.values);
  return writing(weights, rotation);
}

function down(layer: LlamaLayer, { ffn }: LlamaConfig, rotation: Rotation): Dense {
  const weights = dense(layer.down);
  scaleColumns(
    weights,
    Float32Array.from({ length: ffn }, (_, i) => randomSign(i)),
  );
  return writing(afterTransform(weights), rotation);
}

/** A matrix that reads rows after a Hadamard transform of their blocks, in place. */
export function afterTransform(weights: Dense): Dense {
  const block = powerOfTwoIn(weights.columns, FFN_BLOCK);
  for (let from = 0; from < weights.values.length; from += block) {
    const part = weights.values.subarray(from, from + block);
    hadamard(part, block);
    for (let i = 0; i < block; i++) part[i]! /= block;
  }
  return weights;
}
