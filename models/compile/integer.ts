import { hadamard, powerOfTwoIn, Rotation, randomSign } from "../../shared/rotation.ts";
import { type StoredTensor, toFloats } from "../gguf.ts";
import type { LlamaConfig, LlamaLayer, LlamaWeights } from "../llama.ts";
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
  tensors.push(
    ...matrix("output", width, vocabSize, async () => output(llama, rotation)),
    vector("output_norm", width, () => llama.outputNorm()),
  );
  return await writeSafetensors(path, tensors, (done) => onProgress(done, tensors.length));
}

/** What the integer kernel does not take; null: it takes the model. */
export function integerFault(config: LlamaConfig): string | null {
  for (const [name, unit] of Object.entries(VECTORS) as [keyof typeof VECTORS, number][]) {
    if (config[name] % unit !== 0) {
      return `int8 needs a ${name} that is a multiple of ${unit}, not ${config[name]}`;
    }
  }
  return null;
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

/** A vector of so many floats. */
function vector(name: string, length: number, make: () => Promise<Float32Array>): PendingTensor {
  return { name, dtype: "F32", shape: [length], make };
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
  const { values, scales } = rowsToBytes(table);
  return { values, scales: scales.map((scale) => scale * llama.config.embeddingScale) };
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
    ...vectors(llama.config, index, layer.get, name, rotation),
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

/** What a block has beside its matrices, in models that have it. */
function vectors(
  config: LlamaConfig,
  index: number,
  layer: () => Promise<LlamaLayer>,
  name: (part: string) => string,
  rotation: Rotation,
): PendingTensor[] {
  const { width, heads, kvHeads, headDim, biases, headNorms, postNorms } = config;
  const qkv = (heads + 2 * kvHeads) * headDim;
  const tensors: PendingTensor[] = [];
  if (biases) {
    const [firstKey, firstValue] = [heads * headDim, (heads + kvHeads) * headDim];
    const apart = !headNorms && config.blocks[index]!.ropeFrequencies !== null;
    tensors.push(
      vector(name("qkv_bias"), qkv, async () => {
        const bias = inputBias((await layer()).qkvBias, config);
        return apart ? bias.fill(0, firstKey) : bias;
      }),
      vector(name("attention_out_bias"), width, async () => {
        const bias = outputBias(await layer(), config);
        if (!postNorms) rotation.apply(bias);
        return bias;
      }),
    );
    if (apart) {
      const make = async () => inputBias((await layer()).qkvBias, config).slice(firstKey, firstValue);
      tensors.push(vector(name("key_bias"), kvHeads * headDim, make));
    }
  }
  if (headNorms) {
    tensors.push(
      vector(name("head_norms"), 2 * headDim, async () => {
        const norms = (await layer()).headNorms!;
        return Float32Array.of(...norms.q, ...norms.k);
      }),
    );
  }
  if (postNorms) {
    const norms = async () => (await layer()).postNorms!;
    tensors.push(
      vector(name("post_attention_norm"), width, async () => (await norms()).attention),
      vector(name("post_feed_forward_norm"), width, async () => (await norms()).feedForward),
    );
  }
  return tensors;
}

/** Of queries and keys, in the basis that their matrices have here; that of values is in what attention gives. */
function inputBias(bias: Float32Array | null, { heads, kvHeads, headDim }: LlamaConfig): Float32Array {
  const out = new Float32Array((heads + 2 * kvHeads) * headDim);
  if (bias === null) return out;
  for (let i = 0; i < (heads + kvHeads) * headDim; i++) out[i] = bias[i]! * pairSign(i, headDim);
  return out;
}

/** What attention's output has added to it: the bias of values is in it, as the weights that mix them sum to one. */
function outputBias({ qkvBias, attnOutput, attnOutputBias }: LlamaLayer, config: LlamaConfig): Float32Array {
  const { width, heads, kvHeads, headDim } = config;
  const out = Float32Array.from(attnOutputBias ?? new Float32Array(width));
  const ofValues = qkvBias?.subarray((heads + kvHeads) * headDim);
  if (ofValues === undefined) return out;
  const { columns, values } = dense(attnOutput);
  const group = heads / kvHeads;
  for (let row = 0; row < width; row++) {
    for (let i = 0; i < columns; i++) {
      const head = Math.floor(i / headDim / group);
      out[row]! += values[row * columns + i]! * ofValues[head * headDim + (i % headDim)]!;
    }
  }
  return out;
}

/** The rotary embedding turns i and i + headDim / 2 of a head into one another: they share a sign. */
function pairSign(row: number, headDim: number): number {
  return randomSign(row % (headDim / 2));
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
  for (const part of [queries, keys]) scaleRows(part, (row) => pairSign(row, headDim));
  return reading(stackRows([queries, keys, writing(dense(v), new Rotation(headDim))]), attnNorm, rotation);
}

/** What the block adds to the stream: turned already, unless a norm in the model's own basis comes first. */
function adding(weights: Dense, { postNorms }: LlamaConfig, rotation: Rotation): Dense {
  return postNorms ? weights : writing(weights, rotation);
}

function attentionOutput({ attnOutput }: LlamaLayer, config: LlamaConfig, rotation: Rotation): Dense {
  const weights = dense(attnOutput);
  new Rotation(config.headDim).apply(weights.values);
  return adding(weights, config, rotation);
}

function down(layer: LlamaLayer, config: LlamaConfig, rotation: Rotation): Dense {
  const { ffn } = config;
  const weights = dense(layer.down);
  scaleColumns(
    weights,
    Float32Array.from({ length: ffn }, (_, i) => randomSign(i)),
  );
  return adding(afterTransform(weights), config, rotation);
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
