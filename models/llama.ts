import { ARCHITECTURES, type Architecture, architectureNamed, type Projection } from "./architectures/index.ts";
import type { GgufFile, StoredTensor } from "./gguf.ts";
import { cutRows, halfSplitRow, halfSplitRows } from "./rows.ts";

/** How one block attends. */
export interface BlockConfig {
  /** [headDim / 2] rotary angle per position, in radians; null: not rotated. */
  readonly ropeFrequencies: Float64Array | null;
  /** The newest so many tokens are looked at, the row's own among them; null: all. */
  readonly window: number | null;
}

/** What is as in Llama itself. */
export interface LlamaSizes {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffn: number;
  readonly vocabSize: number;
  readonly contextTokens: number;
  readonly normEps: number;
  /** [headDim / 2] rotary angle per position, in radians, in blocks that have no other. */
  readonly ropeFrequencies: Float64Array;
}

/** Shapes and constants of a decoder of Llama's family. */
export interface LlamaConfig extends LlamaSizes {
  readonly activation: "silu" | "gelu";
  /** What embeddings and scores are multiplied by. */
  readonly embeddingScale: number;
  readonly attentionScale: number;
  /** Scores and logits x become cap tanh(x / cap); null: they stay. */
  readonly attentionCap: number | null;
  readonly logitCap: number | null;
  /** Whether queries and keys have norms, what a block adds has, and projections have biases (LlamaLayer). */
  readonly headNorms: boolean;
  readonly postNorms: boolean;
  readonly biases: boolean;
  /** [layers] */
  readonly blocks: readonly BlockConfig[];
}

export interface LlamaLayer {
  readonly attnNorm: Float32Array;
  /** [heads * headDim, width], rotary rows in half-split order. */
  readonly q: StoredTensor;
  /** [kvHeads * headDim, width], rotary rows in half-split order. */
  readonly k: StoredTensor;
  readonly v: StoredTensor;
  /** [(heads + 2 kvHeads) headDim], zero where a projection has no bias; null: none has. */
  readonly qkvBias: Float32Array | null;
  /** [headDim], rotary values in half-split order; null: queries and keys are not normalised. */
  readonly headNorms: { readonly q: Float32Array; readonly k: Float32Array } | null;
  readonly attnOutput: StoredTensor;
  readonly attnOutputBias: Float32Array | null;
  readonly ffnNorm: Float32Array;
  readonly gate: StoredTensor;
  readonly up: StoredTensor;
  readonly down: StoredTensor;
  /** Norms of what attention and feed-forward add to the stream; null: none. */
  readonly postNorms: { readonly attention: Float32Array; readonly feedForward: Float32Array } | null;
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

/** Throws Error naming the key or tensor that is missing, damaged or not supported. */
export async function readLlama(file: GgufFile): Promise<LlamaWeights> {
  const name = file.string("general.architecture");
  const architecture = architectureNamed(name);
  if (architecture === undefined) {
    throw new Error(
      `${file.path}: general.architecture ${name} is not supported; supported: ${ARCHITECTURES.join(", ")}`,
    );
  }
  const config = await readConfig(file, architecture);
  await checkTensors(weightsOf(file.outline(), architecture, config));
  return weightsOf(file, architecture, config);
}

/** Asks for every tensor. Throws Error naming one that is missing, of another shape or of no use. */
async function checkTensors(weights: LlamaWeights): Promise<void> {
  await weights.embedding();
  for (let index = 0; index < weights.config.layers; index++) await weights.layer(index);
  await weights.outputNorm();
  await weights.output();
  weights.assertComplete();
}

function weightsOf(file: GgufFile, architecture: Architecture, config: LlamaConfig): LlamaWeights {
  const { vocabSize, width } = config;
  return {
    config,
    embedding: () => file.read("token_embd.weight", vocabSize, width),
    output: async () => (file.has("output.weight") ? file.read("output.weight", vocabSize, width) : null),
    outputNorm: () => file.readFloats("output_norm.weight", width),
    layer: (index) => readLayer(file, architecture, index, config),
    assertComplete() {
      if (file.unread.length > 0) {
        throw new Error(
          `${file.path}: not a plain ${architecture.name} model: no use for ${file.unread.slice(0, 4).join(", ")}`,
        );
      }
    },
  };
}

const PROJECTIONS: readonly Projection[] = ["attn_q", "attn_k", "attn_v", "attn_output"];

/** Larger than in any model: what is larger is damage. */
const MOST = { layers: 1024, size: 1 << 20, context: 2 ** 31 } as const;

async function readConfig(file: GgufFile, architecture: Architecture): Promise<LlamaConfig> {
  const key = (name: string) => `${architecture.name}.${name}`;
  const count = (name: string, fallback?: number) => file.count(key(name), MOST.size, fallback);
  const layers = file.count(key("block_count"), MOST.layers);
  const width = count("embedding_length");
  const heads = count("attention.head_count");
  const kvHeads = count("attention.head_count_kv", heads);
  const headDim = count("attention.key_length", width / heads);
  const refuse = (name: string, what: string) => new Error(`${file.path}: ${what} (${key(name)}) is not supported`);
  if (heads % kvHeads !== 0) throw refuse("attention.head_count_kv", `${heads} heads over ${kvHeads} key heads`);
  if (headDim % 2 !== 0) throw refuse("attention.key_length", `an odd head size, ${headDim},`);
  if (count("rope.dimension_count", headDim) !== headDim) {
    throw refuse("rope.dimension_count", "rotary embedding of part of a head");
  }
  if (count("attention.value_length", headDim) !== headDim) {
    throw refuse("attention.value_length", "value heads of another width than key heads");
  }
  if (file.hasKey(key("expert_count")) && file.number(key("expert_count")) > 0) {
    throw refuse("expert_count", "a mixture of experts");
  }
  const ropeFrequencies = await readFrequencies(file, architecture, headDim);
  const cap = (name: string) => (file.hasKey(key(name)) ? file.number(key(name)) || null : null);
  return {
    layers,
    width,
    heads,
    kvHeads,
    headDim,
    ffn: count("feed_forward_length"),
    vocabSize: file.list("tokenizer.ggml.tokens").length,
    contextTokens: file.count(key("context_length"), MOST.context),
    normEps: file.number(key("attention.layer_norm_rms_epsilon")),
    ropeFrequencies,
    activation: architecture.activation ?? "silu",
    embeddingScale: architecture.scaledEmbedding === true ? Math.sqrt(width) : 1,
    attentionScale: architecture.attentionScale?.({ layers, width, heads, headDim }) ?? 1 / Math.sqrt(headDim),
    attentionCap: cap("attn_logit_softcapping"),
    logitCap: cap("final_logit_softcapping"),
    headNorms: architecture.headNorms === true,
    postNorms: architecture.postNorms === true,
    biases: architecture.biases !== undefined || PROJECTIONS.some((part) => file.has(`blk.0.${part}.bias`)),
    blocks: readBlocks(file, architecture, layers, ropeFrequencies),
  };
}

function readBlocks(
  file: GgufFile,
  architecture: Architecture,
  layers: number,
  ropeFrequencies: Float64Array,
): BlockConfig[] {
  const { name, unrotatedEvery, unwindowedEvery, windowRotaryBase } = architecture;
  const key = `${name}.attention.sliding_window`;
  const window =
    unwindowedEvery !== undefined && file.hasKey(key) && file.number(key) > 0 ? file.count(key, MOST.context) : null;
  const local =
    windowRotaryBase === undefined
      ? ropeFrequencies
      : powers(file.number(`${name}.rope.freq_base_swa`, windowRotaryBase), ropeFrequencies.length);
  return Array.from({ length: layers }, (_, i) => {
    const windowed = window !== null && (i + 1) % (unwindowedEvery ?? 1) !== 0;
    const rotated = unrotatedEvery === undefined || (i + 1) % unrotatedEvery !== 0;
    return { ropeFrequencies: rotated ? (windowed ? local : ropeFrequencies) : null, window: windowed ? window : null };
  });
}

/** base^(-i / count) */
function powers(base: number, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => base ** (-i / count));
}

/** theta^(-2i / headDim), divided by the scaling of the file: one factor, or one per frequency (Llama 3). */
async function readFrequencies(file: GgufFile, { name }: Architecture, headDim: number): Promise<Float64Array> {
  const key = (part: string) => `${name}.rope.${part}`;
  const base = file.number(key("freq_base"), 10000);
  const scaling = file.string(key("scaling.type"), "none");
  if (scaling !== "none" && scaling !== "linear") {
    throw new Error(`${file.path}: rotary scaling "${scaling}" (${key("scaling.type")}) is not supported`);
  }
  const factor = scaling === "linear" ? file.number(key("scaling.factor")) : 1;
  const each = file.has("rope_freqs.weight") ? await file.readFloats("rope_freqs.weight", headDim / 2) : null;
  const frequencies = powers(base, headDim / 2).map((frequency, i) => frequency / factor / (each?.[i] ?? 1));
  if (!frequencies.every(Number.isFinite)) {
    throw new Error(`${file.path}: ${key("freq_base")}, its scaling or rope_freqs.weight gives no finite angles`);
  }
  return frequencies;
}

async function readLayer(
  file: GgufFile,
  architecture: Architecture,
  index: number,
  config: LlamaConfig,
): Promise<LlamaLayer> {
  const { width, heads, headDim, ffn } = config;
  const name = (part: string) => `blk.${index}.${part}`;
  const matrix = (part: string, rows: number, columns: number) => file.read(name(`${part}.weight`), rows, columns);
  const norm = (part: string, length = width) => file.readFloats(name(`${part}.weight`), length);
  const { headNorms, postNorms } = architecture;
  const inputs = await readInputs(matrix, architecture, config);
  return {
    ...inputs,
    attnNorm: await norm("attn_norm"),
    qkvBias: await readBias(file, architecture, name, config),
    headNorms: headNorms ? { q: await norm("attn_q_norm", headDim), k: await norm("attn_k_norm", headDim) } : null,
    attnOutput: await matrix("attn_output", width, heads * headDim),
    attnOutputBias: file.has(name("attn_output.bias")) ? await file.readFloats(name("attn_output.bias"), width) : null,
    ffnNorm: await norm("ffn_norm"),
    down: await matrix("ffn_down", width, ffn),
    postNorms: postNorms
      ? { attention: await norm("post_attention_norm"), feedForward: await norm("post_ffw_norm") }
      : null,
  };
}

/** The matrices that read the stream. */
async function readInputs(
  matrix: (part: string, rows: number, columns: number) => Promise<StoredTensor>,
  { rotaryRows, fused }: Architecture,
  { width, heads, kvHeads, headDim, ffn }: LlamaConfig,
): Promise<Pick<LlamaLayer, "q" | "k" | "v" | "gate" | "up">> {
  const queries = heads * headDim;
  const keys = kvHeads * headDim;
  if (fused === true) {
    const [q, k, v] = cutRows(await matrix("attn_qkv", queries + 2 * keys, width), [queries, keys, keys]);
    const [gate, up] = cutRows(await matrix("ffn_up", 2 * ffn, width), [ffn, ffn]);
    return { q: q!, k: k!, v: v!, gate: gate!, up: up! };
  }
  const ordered = (tensor: StoredTensor, count: number) =>
    rotaryRows === "pairs" ? halfSplitRows(tensor, count) : tensor;
  return {
    q: ordered(await matrix("attn_q", queries, width), heads),
    k: ordered(await matrix("attn_k", keys, width), kvHeads),
    v: await matrix("attn_v", keys, width),
    gate: await matrix("ffn_gate", ffn, width),
    up: await matrix("ffn_up", ffn, width),
  };
}

async function readBias(
  file: GgufFile,
  { biases, rotaryRows }: Architecture,
  name: (part: string) => string,
  { heads, kvHeads, headDim }: LlamaConfig,
): Promise<Float32Array | null> {
  const parts: readonly (readonly [Projection, number])[] = [
    ["attn_q", heads],
    ["attn_k", kvHeads],
    ["attn_v", kvHeads],
  ];
  const isThere = ([part]: (typeof parts)[number]) => biases?.includes(part) === true || file.has(name(`${part}.bias`));
  if (!parts.some(isThere)) return null;
  const out = new Float32Array((heads + 2 * kvHeads) * headDim);
  let at = 0;
  for (const entry of parts) {
    const [part, count] = entry;
    if (isThere(entry)) {
      const values = await file.readFloats(name(`${part}.bias`), count * headDim);
      const paired = rotaryRows === "pairs" && part !== "attn_v";
      for (let i = 0; i < values.length; i++) out[at + (paired ? halfSplitRow(i, headDim) : i)] = values[i]!;
    }
    at += count * headDim;
  }
  return out;
}
