import { assert } from "../../shared/assert.ts";
import type { LlamaConfig, LlamaLayer, LlamaWeights } from "../llama.ts";
import { Graph } from "./graph.ts";
import { lookUp, multiply, type PlacedMatrix, placeMatrix } from "./linear.ts";
import { type Matrix, type Precision, scaleMatrix, stackRows, toMatrix } from "./matrix.ts";

export interface BaseOptions {
  readonly precision: Precision;
  /** Zero-based blocks whose residual output joins the `hidden` output, rising. */
  readonly taps: readonly number[];
  readonly onLayer?: (done: number, layers: number) => void;
}

/** Values that every layer needs. */
interface Shared {
  readonly graph: Graph;
  readonly config: LlamaConfig;
  readonly precision: Precision;
  /** [1, M] int64 */
  readonly positions: string;
  /** [group * M, C + M]: the mask once per query head of a group. */
  readonly bias: string;
  readonly cos: string;
  readonly sin: string;
  /** [C, M] as int64: where the past's columns end and the new rows' begin. */
  readonly widths: string;
}

/**
 * The base model as one ONNX graph with the inputs and outputs of models/README.md. M new rows see C
 * slots of past keys and values, which stay the caller's, and one another, all under one additive mask;
 * the graph returns only the new rows' keys and values.
 */
export async function compileBase(weights: LlamaWeights, options: BaseOptions): Promise<Uint8Array> {
  const { config } = weights;
  const graph = new Graph("base");
  const tokens = graph.input("tokens", "int32", ["M"]);
  const positions = graph.input("positions", "int32", ["M"]);
  const rows = graph.input("rows", "int32", ["R"]);
  const bias = graph.input("bias", "float32", ["M", "C+M"]);
  const embedding = toMatrix(await weights.embedding(), tablePrecision(options.precision));
  assert(embedding.rows === config.vocabSize && embedding.columns === config.width, "embedding of vocabulary x width");
  const table = placeMatrix(graph, "embedding", embedding);
  const shared = emitShared(graph, config, options.precision, positions, bias);

  const newRows: string[] = [];
  const tapped = new Map<number, string>();
  let residual = lookUp(graph, tokens, table);
  let normed = "";
  let delta = "";
  for (let i = 0; i < config.layers; i++) {
    const layer = await weights.layer(i);
    const norm = graph.constant(`layer${i}.attn_norm`, layer.attnNorm, [config.width]);
    [normed, residual] =
      delta === "" ? [firstNorm(shared, residual, norm), residual] : addAndNorm(shared, residual, delta, norm);
    if (options.taps.includes(i - 1)) tapped.set(i - 1, residual);
    const attended = emitAttention(shared, i, layer, normed, newRows);
    const ffnNorm = graph.constant(`layer${i}.ffn_norm`, layer.ffnNorm, [config.width]);
    [normed, residual] = addAndNorm(shared, residual, attended, ffnNorm);
    delta = emitFeedForward(shared, i, layer, normed);
    options.onLayer?.(i + 1, config.layers);
  }
  const finalNorm = graph.constant("output_norm", await weights.outputNorm(), [config.width]);
  const wanted = (value: string) => graph.node("Gather", [value, rows]);
  const [final, last] = addAndNorm(shared, wanted(residual), wanted(delta), finalNorm);
  const features = options.taps.map((tap) => (tap === config.layers - 1 ? last : wanted(tapped.get(tap)!)));
  emitOutputs(
    shared,
    multiply(graph, final, await placeOutput(graph, weights, table, options.precision)),
    [...features, final],
    newRows,
  );
  weights.assertComplete();
  return graph.encode();
}

/** The embedding is looked up row by row, which 4-bit codes do not allow here. */
export function tablePrecision(precision: Precision): Precision {
  return precision === "int4" ? "int8" : precision;
}

async function placeOutput(
  graph: Graph,
  weights: LlamaWeights,
  table: PlacedMatrix,
  precision: Precision,
): Promise<PlacedMatrix> {
  const output = await weights.output();
  return output === null ? table : placeMatrix(graph, "output", toMatrix(output, tablePrecision(precision)));
}

function emitShared(graph: Graph, config: LlamaConfig, precision: Precision, positions: string, bias: string): Shared {
  const half = config.headDim / 2;
  const cos = new Float32Array(config.contextTokens * half);
  const sin = new Float32Array(config.contextTokens * half);
  for (let position = 0; position < config.contextTokens; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * config.ropeFrequencies[i]!;
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    }
  }
  const total = graph.node("Shape", [bias], { start: 1, end: 2 });
  const fresh = graph.node("Shape", [bias], { start: 0, end: 1 });
  const past = graph.node("Sub", [total, fresh]);
  const group = config.heads / config.kvHeads;
  assert(Number.isInteger(group), "every key head serves the same number of query heads");
  const tiles = graph.constant("tiles", BigInt64Array.of(BigInt(group), 1n), [2]);
  return {
    graph,
    config,
    precision,
    positions: graph.node("Unsqueeze", [graph.node("Cast", [positions], { to: 7 }), graph.ints(0)]),
    bias: group === 1 ? bias : graph.node("Tile", [bias, tiles]),
    cos: graph.constant("rope.cos", cos, [config.contextTokens, half]),
    sin: graph.constant("rope.sin", sin, [config.contextTokens, half]),
    widths: graph.node("Concat", [past, fresh], { axis: 0 }),
  };
}

function firstNorm({ graph, config }: Shared, x: string, weight: string): string {
  return graph.node("SimplifiedLayerNormalization", [x, weight], {
    axis: -1,
    epsilon: { float: config.normEps },
    stash_type: 1,
  });
}

/** [norm of the sum, the sum] */
function addAndNorm({ graph, config }: Shared, x: string, delta: string, weight: string): [string, string] {
  const out = graph.nodes("SkipSimplifiedLayerNormalization", [x, delta, weight], 4, {
    epsilon: { float: config.normEps },
  });
  return [out[0]!, out[3]!];
}

function linear({ graph }: Shared, name: string, x: string, matrix: Matrix): string {
  return multiply(graph, x, placeMatrix(graph, name, matrix));
}

/** x [M, width] -> [M, width]; appends this layer's new keys and values, each [kvHeads, M, headDim]. */
function emitAttention(shared: Shared, index: number, layer: LlamaLayer, x: string, newRows: string[]): string {
  const { graph, config, precision } = shared;
  const { heads, kvHeads, headDim } = config;
  const cache = (part: string) => graph.input(`past_${part}_${index}`, "float32", [kvHeads, "C", headDim]);
  const pastKeys = cache("k");
  const pastValues = cache("v");
  // Scaling the query weights costs nothing at run time; scaling the scores would.
  const query = scaleMatrix(toMatrix(layer.q, precision), headDim ** -0.5);
  const qkv = stackRows([query, toMatrix(layer.k, precision), toMatrix(layer.v, precision)]);
  const mixed = linear(shared, `layer${index}.qkv`, x, qkv);
  const perHead = graph.node("Reshape", [mixed, graph.ints(1, -1, heads + 2 * kvHeads, headDim)]);
  const headFirst = graph.node("Transpose", [perHead], { perm: [0, 2, 1, 3] });
  const [q, k, v] = graph.nodes("Split", [headFirst, graph.ints(heads, kvHeads, kvHeads)], 3, { axis: 1 });
  const rotate = (value: string) => graph.node("RotaryEmbedding", [value, shared.positions, shared.cos, shared.sin]);
  // Query heads of one group lie below one another, so that keys and values are never repeated.
  const queries = graph.node("Reshape", [rotate(q!), graph.ints(kvHeads, -1, headDim)]);
  const keys = graph.node("Reshape", [rotate(k!), graph.ints(kvHeads, -1, headDim)]);
  const values = graph.node("Reshape", [v!, graph.ints(kvHeads, -1, headDim)]);
  newRows.push(keys, values);
  const scores = graph.node("Concat", [scoresOf(shared, queries, pastKeys), scoresOf(shared, queries, keys)], {
    axis: 2,
  });
  const shares = graph.node("Softmax", [graph.node("Add", [scores, shared.bias])], { axis: -1 });
  const [past, fresh] = graph.nodes("Split", [shares, shared.widths], 2, { axis: 2 });
  const sum = graph.node("Add", [graph.node("MatMul", [past!, pastValues]), graph.node("MatMul", [fresh!, values])]);
  const rowFirst = graph.node("Transpose", [graph.node("Reshape", [sum, graph.ints(heads, -1, headDim)])], {
    perm: [1, 0, 2],
  });
  const joined = graph.node("Reshape", [rowFirst, graph.ints(-1, heads * headDim)]);
  return linear(shared, `layer${index}.attn_output`, joined, toMatrix(layer.attnOutput, precision));
}

/** queries times transposed keys. fp32 graphs keep to operators that every provider has. */
function scoresOf({ graph, precision }: Shared, queries: string, keys: string): string {
  if (precision !== "fp32") return graph.node("FusedMatMul", [queries, keys], { transB: 1 });
  return graph.node("MatMul", [queries, graph.node("Transpose", [keys], { perm: [0, 2, 1] })]);
}

/** down(silu(gate(x)) * up(x)) */
function emitFeedForward(shared: Shared, index: number, layer: LlamaLayer, x: string): string {
  const { graph, config, precision } = shared;
  const gateUp = stackRows([toMatrix(layer.gate, precision), toMatrix(layer.up, precision)]);
  const both = linear(shared, `layer${index}.gate_up`, x, gateUp);
  const [gate, up] = graph.nodes("Split", [both, graph.ints(config.ffn, config.ffn)], 2, { axis: 1 });
  const silu = graph.node("QuickGelu", [gate!], { alpha: { float: 1 } });
  return linear(shared, `layer${index}.down`, graph.node("Mul", [silu, up!]), toMatrix(layer.down, precision));
}

function emitOutputs(
  { graph, config }: Shared,
  logits: string,
  features: readonly string[],
  newRows: readonly string[],
): void {
  const { layers, kvHeads, headDim, width, vocabSize } = config;
  const best = graph.node("ArgMax", [logits], { axis: 1, keepdims: 0 });
  const hidden = features.length === 1 ? features[0]! : graph.node("Concat", features, { axis: 1 });
  const stacked = graph.node("Concat", newRows, { axis: 0 });
  graph.output("argmax", graph.node("Cast", [best], { to: 6 }), "int32", ["R"]);
  graph.output("logits", logits, "float32", ["R", vocabSize]);
  graph.output("hidden", hidden, "float32", ["R", features.length * width]);
  const newKv = graph.node("Reshape", [stacked, graph.ints(layers, 2, kvHeads, -1, headDim)]);
  graph.output("new_kv", newKv, "float32", [layers, 2, kvHeads, "M", headDim]);
}
