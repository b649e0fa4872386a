import type { CopyHeads, GraphPrecision } from "../../shared/manifest.ts";
import type { LlamaWeights } from "../llama.ts";
import type { SafeTensors } from "../safetensors.ts";
import { FLOAT, GraphBuilder, INT32, type TensorStore, type Value } from "./graph.ts";
import { addMatrix, dense, pickRows, stack, weightsOf } from "./matrix.ts";
import { medusaHeads } from "./medusa.ts";

const EPSILON = 1e-5;

/** What the heads file says of itself. */
export interface HeadsInfo {
  /** Zero-based blocks whose residual stream is a feature, beside the final hidden state. */
  readonly taps: readonly number[];
  /** Lattice rows: heads 2..count + 1. */
  readonly count: number;
  readonly copy: CopyHeads | null;
}

export function headsInfo(file: SafeTensors): HeadsInfo {
  const medusa = medusaHeads(file);
  if (medusa !== null) return { taps: [], count: medusa.count, copy: null };
  const taps = (file.metadata.taps ?? "").split(",").filter(Boolean).map(Number);
  const count = Number(file.metadata.heads);
  return { taps, count, copy: file.has("copy.gate_weight") ? copyHeads(file, count) : null };
}

function copyHeads(file: SafeTensors, count: number): CopyHeads {
  const rows = (name: string) => {
    const values = [...file.floats(name)];
    const width = values.length / count;
    return Array.from({ length: count }, (_, j) => values.slice(j * width, (j + 1) * width));
  };
  return {
    match: rows("copy.match"),
    age: rows("copy.age").flat(),
    gateMatch: rows("copy.gate_match"),
    gateAgree: rows("copy.gate_agree").flat(),
  };
}

/**
 * The heads graph of bundles whose base model is a graph: features [S, F D] and bonus tokens [S] of S sessions -> lattices [S, heads, topK].
 *   z = concat(f / rms(f) per feature, emb(bonus) / rms) * in_norm;  u = silu(trunk z)
 *   logits_j = E[draft_ids] (final hidden + head.j u + bias.j), log-softmax over the draft vocabulary
 * and, for heads that copy, gate [S, heads] = copy.gate_weight u; with a file of pair scores, query [S, 2 rank] = query.weight u +
 * query.bias.
 */
export async function buildHeads(
  llama: LlamaWeights,
  file: SafeTensors,
  topK: number,
  precision: GraphPrecision,
  store: TensorStore | null = null,
  pair: SafeTensors | null = null,
): Promise<Uint8Array> {
  const { taps, count, copy } = headsInfo(file);
  const { width } = llama.config;
  const features = taps.length + 1;
  const graph = new GraphBuilder("", store);
  const hidden = graph.input("hidden", FLOAT, ["S", features * width]);
  const bonus = graph.input("bonus", INT32, ["S"]);
  const table = weightsOf(await llama.embedding());
  const embedding = addMatrix(graph, "embedding", table, precision).lookUp(bonus);
  const parts = graph.op("Reshape", [graph.op("Concat", [hidden, embedding], { axis: 1 }), graph.ints([-1, width])]);
  const ones = graph.floats("ones", new Float32Array(width).fill(1), [width]);
  const normed = graph.op("SimplifiedLayerNormalization", [parts, ones], { axis: -1, epsilon: { float: EPSILON } });
  const inNorm = file.floats("in_norm.weight");
  const z = graph.op("Mul", [
    graph.op("Reshape", [normed, graph.ints([-1, (features + 1) * width])]),
    graph.floats("in_norm", inNorm, [1, inNorm.length]),
  ]);
  const trunk = addMatrix(graph, "trunk", dense(file, "trunk.weight"), precision).multiply(z);
  const u = graph.op("QuickGelu", [trunk], { alpha: { float: 1 } });
  const heads = Array.from({ length: count }, (_, j) => dense(file, `head.${j}.weight`));
  const all = addMatrix(graph, "heads", stack(heads), precision).multiply(u);
  const bias = Float32Array.from(heads.flatMap((_, j) => [...file.floats(`head.${j}.bias`)]));
  const final = graph.op("Slice", [
    hidden,
    graph.ints([taps.length * width]),
    graph.ints([features * width]),
    graph.ints([1]),
  ]);
  const residual = graph.op("Add", [
    graph.op("Reshape", [all, graph.ints([-1, count, width])]),
    graph.floats("heads_bias", bias, [1, count, width]),
  ]);
  const own = graph.op("Add", [residual, graph.op("Unsqueeze", [final, graph.ints([1])])]);
  const out = graph.op("Reshape", [own, graph.ints([-1, width])]);
  const draftIds = file.get("draft_ids").values as Int32Array;
  const output = weightsOf((await llama.output()) ?? (await llama.embedding()));
  const logits = addMatrix(graph, "draft_output", pickRows(output, draftIds), precision).multiply(out);
  const [top, index] = graph.ops("TopK", [logits, graph.ints([topK])], 2, { axis: 1, sorted: 1 });
  const mass = graph.op("ReduceLogSumExp", [logits, graph.ints([1])], { keepdims: 1 });
  const lattices = (rows: Value) => graph.op("Reshape", [rows, graph.ints([-1, count, topK])]);
  graph.output("log_probs", lattices(graph.op("Sub", [top!, mass])), FLOAT, ["S", count, topK]);
  const ids = graph.op("Gather", [graph.int32s("draft_ids", draftIds), index!], { axis: 0 });
  graph.output("tokens", lattices(ids), INT32, ["S", count, topK]);
  if (copy !== null) {
    const gate = addMatrix(graph, "copy_gate", dense(file, "copy.gate_weight"), precision).multiply(u);
    graph.output("gate", gate, FLOAT, ["S", count]);
  }
  if (pair !== null) {
    const bias = pair.floats("query.bias");
    const product = addMatrix(graph, "query_weight", dense(pair, "query.weight"), precision).multiply(u);
    const query = graph.op("Add", [product, graph.floats("query_bias", bias, [1, bias.length])]);
    graph.output("query", query, FLOAT, ["S", bias.length]);
  }
  return graph.build("heads");
}
