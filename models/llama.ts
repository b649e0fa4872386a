import { blockBytes, blockSize } from "./dequantise.ts";
import type { GgufFile, StoredTensor } from "./gguf.ts";

/** Shapes and constants of a Llama-architecture decoder. */
export interface LlamaConfig {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffn: number;
  readonly vocabSize: number;
  readonly contextTokens: number;
  readonly normEps: number;
  /** [headDim / 2] rotary angle per position, in radians. */
  readonly ropeFrequencies: Float64Array;
}

export interface LlamaLayer {
  readonly attnNorm: Float32Array;
  /** [heads * headDim, width], rotary rows in half-split order. */
  readonly q: StoredTensor;
  /** [kvHeads * headDim, width], rotary rows in half-split order. */
  readonly k: StoredTensor;
  readonly v: StoredTensor;
  readonly attnOutput: StoredTensor;
  readonly ffnNorm: Float32Array;
  readonly gate: StoredTensor;
  readonly up: StoredTensor;
  readonly down: StoredTensor;
}

/** The weights in file order of need, so that one layer at a time is in memory. */
export interface LlamaWeights {
  readonly config: LlamaConfig;
  /** [vocabSize, width] */
  embedding(): Promise<StoredTensor>;
  /** [vocabSize, width], or null where the embedding is the output matrix too. */
  output(): Promise<StoredTensor | null>;
  outputNorm(): Promise<Float32Array>;
  layer(index: number): Promise<LlamaLayer>;
  /** Throws if a tensor of the file was never asked for. */
  assertComplete(): void;
}

export async function readLlama(file: GgufFile): Promise<LlamaWeights> {
  const config = await readConfig(file);
  return {
    config,
    embedding: () => file.read("token_embd.weight"),
    output: async () => (file.has("output.weight") ? file.read("output.weight") : null),
    outputNorm: () => file.readFloats("output_norm.weight"),
    layer: (index) => readLayer(file, index, config),
    assertComplete() {
      if (file.unread.length > 0) {
        throw new Error(`${file.path}: not a plain Llama model: no use for ${file.unread.slice(0, 4).join(", ")}`);
      }
    },
  };
}

async function readConfig(file: GgufFile): Promise<LlamaConfig> {
  const architecture = file.string("general.architecture");
  if (architecture !== "llama") throw new Error(`${file.path}: architecture ${architecture}, only llama is supported`);
  const width = file.number("llama.embedding_length");
  const heads = file.number("llama.attention.head_count");
  const headDim = file.number("llama.attention.key_length", width / heads);
  if (file.number("llama.rope.dimension_count", headDim) !== headDim) {
    throw new Error(`${file.path}: rotary embedding of part of a head is not supported`);
  }
  if (file.number("llama.attention.value_length", headDim) !== headDim) {
    throw new Error(`${file.path}: value heads of another width than key heads are not supported`);
  }
  return {
    layers: file.number("llama.block_count"),
    width,
    heads,
    kvHeads: file.number("llama.attention.head_count_kv", heads),
    headDim,
    ffn: file.number("llama.feed_forward_length"),
    vocabSize: file.list("tokenizer.ggml.tokens").length,
    contextTokens: file.number("llama.context_length"),
    normEps: file.number("llama.attention.layer_norm_rms_epsilon"),
    ropeFrequencies: await ropeFrequencies(file, headDim),
  };
}

/** theta^(-2i / headDim), divided by the scaling of the file: one factor, or one per frequency (Llama 3). */
async function ropeFrequencies(file: GgufFile, headDim: number): Promise<Float64Array> {
  const theta = file.number("llama.rope.freq_base", 10000);
  const scaling = file.string("llama.rope.scaling.type", "none");
  if (scaling !== "none" && scaling !== "linear") {
    throw new Error(`${file.path}: rotary scaling ${scaling} is not supported`);
  }
  const factor = scaling === "linear" ? file.number("llama.rope.scaling.factor") : 1;
  const each = file.has("rope_freqs.weight") ? await file.readFloats("rope_freqs.weight") : null;
  return Float64Array.from(
    { length: headDim / 2 },
    (_, i) => theta ** ((-2 * i) / headDim) / factor / (each?.[i] ?? 1),
  );
}

async function readLayer(file: GgufFile, index: number, config: LlamaConfig): Promise<LlamaLayer> {
  const name = (part: string) => `blk.${index}.${part}.weight`;
  return {
    attnNorm: await file.readFloats(name("attn_norm")),
    q: halfSplitRows(await file.read(name("attn_q")), config.heads),
    k: halfSplitRows(await file.read(name("attn_k")), config.kvHeads),
    v: await file.read(name("attn_v")),
    attnOutput: await file.read(name("attn_output")),
    ffnNorm: await file.readFloats(name("ffn_norm")),
    gate: await file.read(name("ffn_gate")),
    up: await file.read(name("ffn_up")),
    down: await file.read(name("ffn_down")),
  };
}

/**
 * llama.cpp's converter interleaves the two halves of every rotary head (rows r and r + headDim / 2
 * become neighbours). This puts them back. Rows are whole blocks, so bytes move and no value changes.
 */
export function halfSplitRows(tensor: StoredTensor, heads: number): StoredTensor {
  const rowBytes = (tensor.columns / blockSize(tensor.type)) * blockBytes(tensor.type);
  const headDim = tensor.rows / heads;
  const data = new Uint8Array(tensor.data.length);
  for (let row = 0; row < tensor.rows; row++) {
    const within = row % headDim;
    const half = within & 1;
    const to = row - within + half * (headDim / 2) + (within >> 1);
    data.set(tensor.data.subarray(row * rowBytes, (row + 1) * rowBytes), to * rowBytes);
  }
  return { ...tensor, data };
}
