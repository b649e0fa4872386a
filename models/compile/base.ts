import type { GraphPrecision } from "../../shared/manifest.ts";
import type { StoredTensor } from "../gguf.ts";
import type { LlamaConfig, LlamaLayer, LlamaWeights } from "../llama.ts";
import { type AttentionWeights, attend, capped, SharedValues } from "./attention.ts";
import { FLOAT, GraphBuilder, INT32, type TensorStore, type Value } from "./graph.ts";
import { addMatrix, type Matrix, stack, weightsOf } from "./matrix.ts";

export interface BaseOptions {
  /** Default: all tensors are in the graph. */
  readonly store?: TensorStore | null;
  /** Called with how many blocks are done. */
  readonly onLayer?: (done: number) => void;
}

/**
 * The base graph (see models/README.md for its inputs and outputs). Attention is in two parts: the
 * past is an input that nobody copies, the M new rows come from this pass; their scores are joined
 * under one additive bias. Only the new rows' K and V are returned.
 */
export async function buildBase(
  llama: LlamaWeights,
  contextTokens: number,
  taps: readonly number[],
  precision: GraphPrecision,
  { store = null, onLayer }: BaseOptions = {},
): Promise<Uint8Array> {
  const a = { ...llama.config, contextTokens };
  const graph = new GraphBuilder("", store);
  const tokens = graph.input("tokens", INT32, ["M"]);
  const positions = graph.input("positions", INT32, ["M"]);
  const rows = graph.input("rows", INT32, ["R"]);
  const bias = graph.input("bias", FLOAT, ["M", "C_plus_M"]);
  const embedding = addMatrix(graph, "embedding", weightsOf(await llama.embedding()), precision);
  const shared = new SharedValues(graph, a, positions, bias);
  const kv: Value[] = [];
  const tapped: Value[] = [];
  let stream = embedding.lookUp(tokens);
  if (a.embeddingScale !== 1) {
    stream = graph.op("Mul", [stream, graph.scalar("embedding_scale", a.embeddingScale)]);
  }
  let update: Value | null = null;
  for (let i = 0; i < a.layers; i++) {
    const weights = addLayer(graph, i, await llama.layer(i), precision);
    const first = normalise(graph, stream, update, weights.attentionNorm, a.normEps);
    const attention = attend(graph, a, i, weights, first.normed, shared);
    kv.push(attention.key, attention.value);
    const attended = weights.postAttention(weights.attentionOut.multiply(attention.out), a.normEps);
    const second = normalise(graph, first.stream, attended, weights.feedForwardNorm, a.normEps);
    update = weights.postFeedForward(feedForward(graph, a, weights, second.normed), a.normEps);
    stream = second.stream;
    onLayer?.(i + 1);
    if (taps.includes(i)) tapped.push(graph.op("Gather", [graph.op("Add", [stream, update]), rows], { axis: 0 }));
  }
  const last = graph.op("Gather", [update ? graph.op("Add", [stream, update]) : stream, rows], { axis: 0 });
  const finalNorm = graph.floats("output_norm", await llama.outputNorm(), [a.width]);
  const hidden = norm(graph, last, finalNorm, a.normEps);
  const untied = await llama.output();
  const output = untied ? addMatrix(graph, "output", weightsOf(untied), precision) : embedding;
  const products = output.multiply(hidden);
  const logits = a.logitCap === null ? products : capped(graph, products, a.logitCap, "logits");
  const argmax = graph.op("Cast", [graph.op("ArgMax", [logits], { axis: 1, keepdims: 0 })], { to: INT32 });
  const features = tapped.length ? graph.op("Concat", [...tapped, hidden], { axis: 1 }) : hidden;
  const joined = graph.op("Concat", kv, { axis: 0 });
  graph.output("argmax", argmax, INT32, ["R"]);
  graph.output("logits", logits, FLOAT, ["R", a.vocabSize]);
  graph.output("hidden", features, FLOAT, ["R", a.width * (taps.length + 1)]);
  const shape = [a.layers, 2, a.kvHeads, "M", a.headDim] as const;
  const kvShape = graph.ints([a.layers, 2, a.kvHeads, -1, a.headDim]);
  graph.output("new_kv", graph.op("Reshape", [joined, kvShape]), FLOAT, shape);
  return graph.build("base");
}

/** Normalises what is added to the stream, where the model does. */
type PostNorm = (x: Value, epsilon: number) => Value;

interface BlockWeights extends AttentionWeights {
  readonly attentionNorm: Value;
  readonly feedForwardNorm: Value;
  readonly attentionOut: Pick<Matrix, "multiply">;
  readonly gateUp: Matrix;
  readonly down: Matrix;
  readonly postAttention: PostNorm;
  readonly postFeedForward: PostNorm;
}

function addLayer(graph: GraphBuilder, index: number, layer: LlamaLayer, precision: GraphPrecision): BlockWeights {
  const named = (name: string) => `blk.${index}.${name}`;
  const add = (name: string, ...parts: StoredTensor[]) =>
    addMatrix(graph, named(name), stack(parts.map(weightsOf)), precision);
  const vector = (name: string, values: Float32Array) => graph.floats(named(name), values, [values.length]);
  const postNorm = (name: string, values: Float32Array | undefined): PostNorm => {
    if (values === undefined) return (x) => x;
    const weight = vector(name, values);
    return (x, epsilon) => norm(graph, x, weight, epsilon);
  };
  const { headNorms, postNorms, qkvBias, attnOutputBias } = layer;
  const attentionOut = add("attn_output", layer.attnOutput);
  const outputBias = attnOutputBias === null ? null : vector("attn_output_bias", attnOutputBias);
  return {
    attentionNorm: vector("attn_norm", layer.attnNorm),
    feedForwardNorm: vector("ffn_norm", layer.ffnNorm),
    qkv: add("qkv", layer.q, layer.k, layer.v),
    qkvBias: qkvBias === null ? null : vector("qkv_bias", qkvBias),
    headNorms:
      headNorms === null ? null : { q: vector("attn_q_norm", headNorms.q), k: vector("attn_k_norm", headNorms.k) },
    attentionOut: {
      multiply: (x) => {
        const product = attentionOut.multiply(x);
        return outputBias === null ? product : graph.op("Add", [product, outputBias]);
      },
    },
    gateUp: add("gate_up", layer.gate, layer.up),
    down: add("ffn_down", layer.down),
    postAttention: postNorm("post_attention_norm", postNorms?.attention),
    postFeedForward: postNorm("post_ffw_norm", postNorms?.feedForward),
  };
}

function feedForward(graph: GraphBuilder, { activation }: LlamaConfig, w: BlockWeights, x: Value): Value {
  const [gate, up] = graph.ops("Split", [w.gateUp.multiply(x)], 2, { axis: 1, num_outputs: 2 });
  const active =
    activation === "silu"
      ? graph.op("QuickGelu", [gate!], { alpha: { float: 1 } })
      : graph.op("Gelu", [gate!], { approximate: "tanh" });
  return w.down.multiply(graph.op("Mul", [active, up!]));
}

function norm(graph: GraphBuilder, x: Value, weight: Value, epsilon: number): Value {
  return graph.op("SimplifiedLayerNormalization", [x, weight], { axis: -1, epsilon: { float: epsilon } });
}

function normalise(graph: GraphBuilder, stream: Value, update: Value | null, weight: Value, epsilon: number) {
  if (update === null) return { normed: norm(graph, stream, weight, epsilon), stream };
  const outputs = graph.ops("SkipSimplifiedLayerNormalization", [stream, update, weight], 4, {
    epsilon: { float: epsilon },
  });
  return { normed: outputs[0]!, stream: outputs[3]! };
}
