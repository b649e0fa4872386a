import { GGML } from "../../models/dequantise.ts";
import type { StoredTensor } from "../../models/gguf.ts";
import type { LlamaConfig, LlamaLayer, LlamaWeights } from "../../models/llama.ts";
import type { Random } from "../helpers/random.ts";

/** A random Llama model, and its forward pass in the plainest float64 TypeScript: no cache, no tricks. */
export interface NaiveLlama {
  readonly weights: LlamaWeights;
  /**
   * Logits and features of the last of `tokens`: the residual streams after the blocks `taps`, then the
   * state after the final norm.
   */
  forward(tokens: readonly number[], taps: readonly number[]): { logits: number[]; features: number[] };
}

export interface NaiveOptions {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly ffn: number;
  readonly vocabSize: number;
  /** Whether the output matrix is the embedding. */
  readonly tied: boolean;
}

export function naiveLlama(options: NaiveOptions, random: Random): NaiveLlama {
  const headDim = options.width / options.heads;
  const config: LlamaConfig = {
    ...options,
    headDim,
    contextTokens: 64,
    normEps: 1e-5,
    ...plainTraits(options.layers, headDim),
  };
  const matrix = (rows: number, columns: number) => randomTensor(rows, columns, random);
  const vector = () => Float32Array.from({ length: config.width }, () => 0.5 + random.unit());
  const kvWidth = config.kvHeads * headDim;
  const layers: LlamaLayer[] = Array.from({ length: config.layers }, () => ({
    attnNorm: vector(),
    q: matrix(config.width, config.width),
    k: matrix(kvWidth, config.width),
    v: matrix(kvWidth, config.width),
    attnOutput: matrix(config.width, config.width),
    qkvBias: null,
    headNorms: null,
    attnOutputBias: null,
    postNorms: null,
    ffnNorm: vector(),
    gate: matrix(config.ffn, config.width),
    up: matrix(config.ffn, config.width),
    down: matrix(config.width, config.ffn),
  }));
  const embedding = matrix(config.vocabSize, config.width);
  const output = options.tied ? null : matrix(config.vocabSize, config.width);
  const outputNorm = vector();
  return {
    weights: {
      config,
      embedding: async () => embedding,
      output: async () => output,
      outputNorm: async () => outputNorm,
      layer: async (index) => layers[index]!,
      assertComplete: () => undefined,
    },
    forward(tokens, taps) {
      let stream = tokens.map((token) => row(embedding, token));
      const tapped: number[][] = [];
      layers.forEach((layer, index) => {
        stream = stream.map((x, at) => add(x, attention(config, layer, stream, at)));
        stream = stream.map((x) => add(x, feedForward(config, layer, x)));
        if (taps.includes(index)) tapped.push(stream.at(-1)!);
      });
      const final = norm(stream.at(-1)!, outputNorm, config.normEps);
      return { logits: times(output ?? embedding, final), features: [...tapped, final].flat() };
    },
  };
}

/** What Llama has of that in which its family differs. */
function plainTraits(layers: number, headDim: number) {
  const ropeFrequencies = Float64Array.from({ length: headDim / 2 }, (_, i) => 10000 ** ((-2 * i) / headDim));
  return {
    ropeFrequencies,
    activation: "silu",
    embeddingScale: 1,
    attentionScale: 1 / Math.sqrt(headDim),
    attentionCap: null,
    logitCap: null,
    headNorms: false,
    postNorms: false,
    biases: false,
    blocks: Array.from({ length: layers }, () => ({ ropeFrequencies, window: null })),
  } as const;
}

function randomTensor(rows: number, columns: number, random: Random): StoredTensor {
  const values = Float32Array.from({ length: rows * columns }, () => ((random.unit() - 0.5) * 4) / Math.sqrt(columns));
  return { type: GGML.F32, rows, columns, data: new Uint8Array(values.buffer) };
}

const floats = (tensor: StoredTensor) => new Float32Array(tensor.data.buffer);
const row = (tensor: StoredTensor, index: number) => [
  ...floats(tensor).subarray(index * tensor.columns, (index + 1) * tensor.columns),
];
const add = (a: readonly number[], b: readonly number[]) => a.map((v, i) => v + b[i]!);
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, v, i) => sum + v * b[i]!, 0);

function times(tensor: StoredTensor, x: readonly number[]): number[] {
  return Array.from({ length: tensor.rows }, (_, i) => dot(row(tensor, i), x));
}

function norm(x: readonly number[], weight: Float32Array, epsilon: number): number[] {
  const scale = 1 / Math.sqrt(dot(x, x) / x.length + epsilon);
  return x.map((v, i) => v * scale * weight[i]!);
}

/** Rotates the pairs (i, i + headDim / 2) of one head by position times frequency i. */
function rotate(config: LlamaConfig, head: readonly number[], position: number): number[] {
  const half = config.headDim / 2;
  return head.map((value, i) => {
    const angle = position * config.ropeFrequencies[i % half]!;
    const other = i < half ? -head[i + half]! : head[i - half]!;
    return value * Math.cos(angle) + other * Math.sin(angle);
  });
}

function headOf(config: LlamaConfig, all: readonly number[], head: number): number[] {
  return all.slice(head * config.headDim, (head + 1) * config.headDim);
}

/** What the row at `at` reads of itself and of the rows before it. */
function attention(config: LlamaConfig, layer: LlamaLayer, stream: readonly number[][], at: number): number[] {
  const seen = stream.slice(0, at + 1).map((x) => norm(x, layer.attnNorm, config.normEps));
  const queries = times(layer.q, seen[at]!);
  const keys = seen.map((x) => times(layer.k, x));
  const values = seen.map((x) => times(layer.v, x));
  const joined = Array.from({ length: config.heads }, (_, head) => {
    const kvHead = Math.floor((head * config.kvHeads) / config.heads);
    const query = rotate(config, headOf(config, queries, head), at);
    const scores = keys.map((k, position) => {
      return dot(query, rotate(config, headOf(config, k, kvHead), position)) / Math.sqrt(config.headDim);
    });
    const largest = Math.max(...scores);
    const shares = scores.map((s) => Math.exp(s - largest));
    const mass = shares.reduce((a, b) => a + b, 0);
    return shares.map((share, i) => headOf(config, values[i]!, kvHead).map((v) => (v * share) / mass)).reduce(add);
  });
  return times(layer.attnOutput, joined.flat());
}

function feedForward(config: LlamaConfig, layer: LlamaLayer, x: readonly number[]): number[] {
  const normed = norm(x, layer.ffnNorm, config.normEps);
  const up = times(layer.up, normed);
  const gated = times(layer.gate, normed).map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
  return times(layer.down, gated);
}
