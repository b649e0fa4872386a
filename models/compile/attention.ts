import type { BlockConfig, LlamaConfig } from "../llama.ts";
import { FLOAT, type GraphBuilder, INT64, type Value } from "./graph.ts";
import type { Matrix } from "./matrix.ts";

/** Far below any score. */
const MASKED = -1e9;

/** What all blocks read, each value made once. */
export class SharedValues {
  /** [2] int64: C, M. */
  readonly split: Value;
  /** Of attention's products. */
  readonly scale: Value;
  readonly #graph: GraphBuilder;
  readonly #config: LlamaConfig;
  readonly #bias: Value;
  /** [1, M] int64 */
  readonly #positions: Value;
  readonly #angles = new Map<Float64Array, Angles>();
  readonly #biases = new Map<number | null, Value>();

  /** @param positions int32 [M] @param bias float32 [M, C + M] */
  constructor(graph: GraphBuilder, config: LlamaConfig, positions: Value, bias: Value) {
    this.#graph = graph;
    this.#config = config;
    this.#bias = bias;
    this.scale = graph.scalar("attention_scale", config.attentionScale);
    const M = graph.op("Shape", [positions]);
    const C = graph.op("Sub", [graph.op("Shape", [bias], { start: 1 }), M]);
    this.split = graph.op("Concat", [C, M], { axis: 0 });
    this.#positions = graph.op("Unsqueeze", [graph.op("Cast", [positions], { to: INT64 }), graph.ints([0])]);
  }

  /** [group * M, C + M]: the bias once per query head of a group, with what lies outside a window masked. */
  bias(window: number | null): Value {
    const known = this.#biases.get(window);
    if (known !== undefined) return known;
    const graph = this.#graph;
    const one = window === null ? this.#bias : this.#windowed(window);
    const group = this.#config.heads / this.#config.kvHeads;
    const all = group === 1 ? one : graph.op("Concat", Array<Value>(group).fill(one), { axis: 0 });
    this.#biases.set(window, all);
    return all;
  }

  /** Rotates [1, M, heads * headDim]. */
  rotate(x: Value, heads: number, frequencies: Float64Array): Value {
    const { cos, sin } = this.#anglesOf(frequencies);
    return this.#graph.op("RotaryEmbedding", [x, this.#positions, cos, sin], { num_heads: heads });
  }

  /** A slot of the past holds the token at its own number's position. */
  #windowed(window: number): Value {
    const graph = this.#graph;
    const [C] = graph.ops("Split", [this.split], 2, { axis: 0, num_outputs: 2 });
    const slots = graph.op("Range", [
      graph.ints([0], true),
      graph.op("Squeeze", [C!, graph.ints([0])]),
      graph.ints([1], true),
    ]);
    const rows = graph.op("Reshape", [this.#positions, graph.ints([-1, 1])]);
    const columns = graph.op("Concat", [slots, graph.op("Reshape", [this.#positions, graph.ints([-1])])], { axis: 0 });
    const past = graph.op("GreaterOrEqual", [graph.op("Sub", [rows, columns]), graph.ints([window], true)]);
    return graph.op("Where", [past, graph.scalar(`masked_${window}`, MASKED), this.#bias]);
  }

  #anglesOf(frequencies: Float64Array): Angles {
    const known = this.#angles.get(frequencies);
    if (known !== undefined) return known;
    const { contextTokens } = this.#config;
    const half = frequencies.length;
    const cos = new Float32Array(contextTokens * half);
    const sin = new Float32Array(contextTokens * half);
    for (let p = 0; p < contextTokens; p++) {
      for (let i = 0; i < half; i++) {
        const angle = p * frequencies[i]!;
        cos[p * half + i] = Math.cos(angle);
        sin[p * half + i] = Math.sin(angle);
      }
    }
    const suffix = this.#angles.size === 0 ? "" : `_${this.#angles.size}`;
    const made = {
      cos: this.#graph.floats(`rope_cos${suffix}`, cos, [contextTokens, half]),
      sin: this.#graph.floats(`rope_sin${suffix}`, sin, [contextTokens, half]),
    };
    this.#angles.set(frequencies, made);
    return made;
  }
}

interface Angles {
  readonly cos: Value;
  readonly sin: Value;
}

export interface AttentionWeights {
  readonly qkv: Matrix;
  /** [1, (heads + 2 kvHeads) headDim] */
  readonly qkvBias: Value | null;
  /** [headDim] */
  readonly headNorms: { readonly q: Value; readonly k: Value } | null;
}

/**
 * Attention of block `layer` over its past, inputs of the graph, and the new rows: x [M, width] -> [M, heads * headDim],
 * with the new rows' keys and values [kvHeads, M, headDim].
 */
export function attend(
  graph: GraphBuilder,
  a: LlamaConfig,
  layer: number,
  w: AttentionWeights,
  x: Value,
  shared: SharedValues,
) {
  const group = a.heads / a.kvHeads;
  const queryWidth = a.heads * a.headDim;
  const block = a.blocks[layer]!;
  const cache = [a.kvHeads, "C", a.headDim];
  const pastKey = graph.input(`past_k_${layer}`, FLOAT, cache);
  const pastValue = graph.input(`past_v_${layer}`, FLOAT, cache);
  const { q, k, v } = project(graph, a, block, w, x, shared);
  const byHead = (value: Value) =>
    graph.op("Transpose", [graph.op("Reshape", [value, graph.ints([-1, a.kvHeads, a.headDim])])], { perm: [1, 0, 2] });
  const key = byHead(k);
  const value = byHead(v);
  // [kvHeads, group * M, headDim]: the query heads of a group read the same keys, nothing is repeated.
  const grouped = graph.op("Reshape", [q, graph.ints([-1, a.kvHeads, group, a.headDim])]);
  const query = graph.op("Reshape", [
    graph.op("Transpose", [grouped], { perm: [1, 2, 0, 3] }),
    graph.ints([a.kvHeads, -1, a.headDim]),
  ]);
  const scaled = graph.op("Mul", [query, shared.scale]);
  // onnxruntime joins both where a provider has the two in one (the CPU's does, WebGPU's has not).
  const against = (keys: Value) => graph.op("MatMul", [scaled, graph.op("Transpose", [keys], { perm: [0, 2, 1] })]);
  const products = graph.op("Concat", [against(pastKey), against(key)], { axis: 2 });
  const scores = a.attentionCap === null ? products : capped(graph, products, a.attentionCap, `attn_${layer}`);
  const masked = graph.op("Add", [scores, shared.bias(block.window)]);
  const mixed = mix(graph, masked, shared.split, pastValue, value);
  const perQuery = graph.op("Reshape", [mixed, graph.ints([a.kvHeads, group, -1, a.headDim])]);
  const out = graph.op("Reshape", [
    graph.op("Transpose", [perQuery], { perm: [2, 0, 1, 3] }),
    graph.ints([-1, queryWidth]),
  ]);
  return { out, key, value };
}

/** Queries [1, M, heads * headDim], keys likewise, both normalised and rotated; values [M, kvHeads * headDim]. */
function project(
  graph: GraphBuilder,
  a: LlamaConfig,
  { ropeFrequencies }: BlockConfig,
  { qkv, qkvBias, headNorms }: AttentionWeights,
  x: Value,
  shared: SharedValues,
): { q: Value; k: Value; v: Value } {
  const queryWidth = a.heads * a.headDim;
  const keyWidth = a.kvHeads * a.headDim;
  const product = qkv.multiply(x);
  const all = qkvBias === null ? product : graph.op("Add", [product, qkvBias]);
  const cut = (value: Value, sizes: readonly number[], axis: number) =>
    graph.ops("Split", [value, graph.ints(sizes)], sizes.length, { axis });
  const [projected, v] = cut(all, [queryWidth + keyWidth, keyWidth], 1);
  // Queries and keys lie side by side, so one rotation serves both.
  const qk = headNorms === null ? projected! : normaliseHeads(projected!);
  const batched = graph.op("Unsqueeze", [qk, graph.ints([0])]);
  const rotated = ropeFrequencies === null ? batched : shared.rotate(batched, a.heads + a.kvHeads, ropeFrequencies);
  const [q, k] = cut(rotated, [queryWidth, keyWidth], 2);
  return { q: q!, k: k!, v: v! };

  function normaliseHeads(both: Value): Value {
    const parts = cut(both, [queryWidth, keyWidth], 1);
    const weights = [headNorms!.q, headNorms!.k];
    const widths = [queryWidth, keyWidth];
    const normed = parts.map((part, i) => {
      const heads = graph.op("Reshape", [part, graph.ints([-1, widths[i]! / a.headDim, a.headDim])]);
      const scaled = graph.op("SimplifiedLayerNormalization", [heads, weights[i]!], {
        axis: -1,
        epsilon: { float: a.normEps },
      });
      return graph.op("Reshape", [scaled, graph.ints([-1, widths[i]!])]);
    });
    return graph.op("Concat", normed, { axis: 1 });
  }
}

/** cap tanh(x / cap) */
export function capped(graph: GraphBuilder, x: Value, cap: number, name: string): Value {
  const inverse = graph.scalar(`${name}_inverse_cap`, 1 / cap);
  return graph.op("Mul", [graph.op("Tanh", [graph.op("Mul", [x, inverse])]), graph.scalar(`${name}_cap`, cap)]);
}

/** softmax(scores) times the values, past and new: [kvHeads, group * M, headDim]. */
function mix(graph: GraphBuilder, scores: Value, split: Value, past: Value, fresh: Value): Value {
  const weights = graph.op("Softmax", [scores], { axis: -1 });
  const [onPast, onNew] = graph.ops("Split", [weights, split], 2, { axis: 2 });
  return graph.op("Add", [graph.op("MatMul", [onPast!, past]), graph.op("MatMul", [onNew!, fresh])]);
}
