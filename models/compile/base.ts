import type { StoredTensor } from "../gguf.ts";
import type { LlamaConfig, LlamaLayer, LlamaWeights } from "../llama.ts";
import { FLOAT, GraphBuilder, INT32, INT64, type Value } from "./graph.ts";
import { addMatrix, type Matrix, stack, weightsOf } from "./matrix.ts";

/**
 * The base graph (see models/README.md for its inputs and outputs). Attention is in two parts: the
 * past is an input that nobody copies, the M new rows come from this pass; their scores are joined
 * under one additive bias. Only the new rows' K and V are returned.
 */
export async function buildBase(
  llama: LlamaWeights,
  contextTokens: number,
  taps: readonly number[],
): Promise<Uint8Array> {
  const a = { ...llama.config, contextTokens };
  const graph = new GraphBuilder();
  const tokens = graph.input("tokens", INT32, ["M"]);
  const positions = graph.input("positions", INT32, ["M"]);
  const rows = graph.input("rows", INT32, ["R"]);
  const bias = graph.input("bias", FLOAT, ["M", "C_plus_M"]);
  const embedding = addMatrix(graph, "embedding", weightsOf(await llama.embedding()), "fp32");
  const shared = sharedValues(graph, a, positions, bias);
  const kv: Value[] = [];
  const tapped: Value[] = [];
  let stream = embedding.lookUp(tokens);
  let update: Value | null = null;
  for (let i = 0; i < a.layers; i++) {
    const weights = addLayer(graph, i, await llama.layer(i));
    const first = normalise(graph, stream, update, weights.attentionNorm, a.normEps);
    const attention = attend(graph, a, i, weights, first.normed, shared);
    kv.push(attention.key, attention.value);
    const second = normalise(graph, first.stream, attention.out, weights.feedForwardNorm, a.normEps);
    const [gate, up] = graph.ops("Split", [weights.gateUp.multiply(second.normed)], 2, { axis: 1, num_outputs: 2 });
    const silu = graph.op("QuickGelu", [gate!], { alpha: { float: 1 } });
    update = weights.down.multiply(graph.op("Mul", [silu, up!]));
    stream = second.stream;
    if (taps.includes(i)) tapped.push(graph.op("Gather", [graph.op("Add", [stream, update]), rows], { axis: 0 }));
  }
  const last = graph.op("Gather", [update ? graph.op("Add", [stream, update]) : stream, rows], { axis: 0 });
  const finalNorm = graph.floats("output_norm", await llama.outputNorm(), [a.width]);
  const hidden = graph.op("SimplifiedLayerNormalization", [last, finalNorm], {
    axis: -1,
    epsilon: { float: a.normEps },
  });
  const untied = await llama.output();
  const output = untied ? addMatrix(graph, "output", weightsOf(untied), "fp32") : embedding;
  const logits = output.multiply(hidden);
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

interface Shared {
  /** [group * M, C + M]: the bias once per query head of a group. */
  readonly bias: Value;
  /** [2] int64: C, M. */
  readonly split: Value;
  /** [1, M] int64 */
  readonly positions: Value;
  readonly cos: Value;
  readonly sin: Value;
}

function sharedValues(graph: GraphBuilder, a: LlamaConfig, positions: Value, bias: Value): Shared {
  const half = a.headDim / 2;
  const cos = new Float32Array(a.contextTokens * half);
  const sin = new Float32Array(a.contextTokens * half);
  for (let p = 0; p < a.contextTokens; p++) {
    for (let i = 0; i < half; i++) {
      const angle = p * a.ropeFrequencies[i]!;
      cos[p * half + i] = Math.cos(angle);
      sin[p * half + i] = Math.sin(angle);
    }
  }
  const M = graph.op("Shape", [positions]);
  const both = graph.op("Shape", [bias], { start: 1 });
  const C = graph.op("Sub", [both, M]);
  const group = a.heads / a.kvHeads;
  return {
    bias: group === 1 ? bias : graph.op("Concat", Array<Value>(group).fill(bias), { axis: 0 }),
    split: graph.op("Concat", [C, M], { axis: 0 }),
    positions: graph.op("Unsqueeze", [graph.op("Cast", [positions], { to: INT64 }), graph.ints([0])]),
    cos: graph.floats("rope_cos", cos, [a.contextTokens, half]),
    sin: graph.floats("rope_sin", sin, [a.contextTokens, half]),
  };
}

interface BlockWeights {
  readonly attentionNorm: Value;
  readonly feedForwardNorm: Value;
  readonly qkv: Matrix;
  readonly attentionOut: Matrix;
  readonly gateUp: Matrix;
  readonly down: Matrix;
}

function addLayer(graph: GraphBuilder, index: number, layer: LlamaLayer): BlockWeights {
  const add = (name: string, ...parts: StoredTensor[]) =>
    addMatrix(graph, `blk.${index}.${name}`, stack(parts.map(weightsOf)), "fp32");
  const norm = (name: string, values: Float32Array) => graph.floats(`blk.${index}.${name}`, values, [values.length]);
  return {
    attentionNorm: norm("attn_norm", layer.attnNorm),
    feedForwardNorm: norm("ffn_norm", layer.ffnNorm),
    qkv: add("qkv", layer.q, layer.k, layer.v),
    attentionOut: add("attn_output", layer.attnOutput),
    gateUp: add("gate_up", layer.gate, layer.up),
    down: add("ffn_down", layer.down),
  };
}

function normalise(graph: GraphBuilder, stream: Value, update: Value | null, weight: Value, epsilon: number) {
  if (update === null) {
    const normed = graph.op("SimplifiedLayerNormalization", [stream, weight], {
      axis: -1,
      epsilon: { float: epsilon },
    });
    return { normed, stream };
  }
  const outputs = graph.ops("SkipSimplifiedLayerNormalization", [stream, update, weight], 4, {
    epsilon: { float: epsilon },
  });
  return { normed: outputs[0]!, stream: outputs[3]! };
}

function attend(graph: GraphBuilder, a: LlamaConfig, layer: number, w: BlockWeights, x: Value, shared: Shared) {
  const group = a.heads / a.kvHeads;
  const queryWidth = a.heads * a.headDim;
  const keyWidth = a.kvHeads * a.headDim;
  const cache = ["kvHeads", "C", "headDim"].map((d) => (d === "C" ? "C" : a[d as "kvHeads" | "headDim"]));
  const pastKey = graph.input(`past_k_${layer}`, FLOAT, cache);
  const pastValue = graph.input(`past_v_${layer}`, FLOAT, cache);
  const [qk, v] = graph.ops("Split", [w.qkv.multiply(x), graph.ints([queryWidth + keyWidth, keyWidth])], 2, {
    axis: 1,
  });
  // Queries and keys lie side by side, so one rotation serves both.
  const batched = graph.op("Unsqueeze", [qk!, graph.ints([0])]);
  const rotated = graph.op("RotaryEmbedding", [batched, shared.positions, shared.cos, shared.sin], {
    num_heads: a.heads + a.kvHeads,
  });
  const [q, k] = graph.ops("Split", [rotated, graph.ints([queryWidth, keyWidth])], 2, { axis: 2 });
  const byHead = (value: Value) =>
    graph.op("Transpose", [graph.op("Reshape", [value, graph.ints([-1, a.kvHeads, a.headDim])])], { perm: [1, 0, 2] });
  const key = byHead(k!);
  const value = byHead(v!);
  // [kvHeads, group * M, headDim]: the query heads of a group read the same keys, nothing is repeated.
  const grouped = graph.op("Reshape", [q!, graph.ints([-1, a.kvHeads, group, a.headDim])]);
  const query = graph.op("Reshape", [
    graph.op("Transpose", [grouped], { perm: [1, 2, 0, 3] }),
    graph.ints([a.kvHeads, -1, a.headDim]),
  ]);
  const scale = { transB: 1, alpha: { float: 1 / Math.sqrt(a.headDim) } };
  const scores = graph.op(
    "Concat",
    [graph.op("FusedMatMul", [query, pastKey], scale), graph.op("FusedMatMul", [query, key], scale)],
    { axis: 2 },
  );
  const masked = graph.op("Add", [scores, shared.bias]);
  const mixed = mix(graph, masked, shared.split, pastValue, value);
  const perQuery = graph.op("Reshape", [mixed, graph.ints([a.kvHeads, group, -1, a.headDim])]);
  const out = graph.op("Reshape", [
    graph.op("Transpose", [perQuery], { perm: [2, 0, 1, 3] }),
    graph.ints([-1, queryWidth]),
  ]);
  return { out: w.attentionOut.multiply(out), key, value };
}

/** softmax(scores) times the values, past and new: [kvHeads, group * M, headDim]. */
function mix(graph: GraphBuilder, scores: Value, split: Value, past: Value, fresh: Value): Value {
  const weights = graph.op("Softmax", [scores], { axis: -1 });
  const [onPast, onNew] = graph.ops("Split", [weights, split], 2, { axis: 2 });
  return graph.op("Add", [graph.op("MatMul", [onPast!, past]), graph.op("MatMul", [onNew!, fresh])]);
}
