import type { LlamaConfig } from "../llama.ts";
import type { SafeTensors } from "../safetensors.ts";
import { FLOAT, GraphBuilder, INT32 } from "./graph.ts";
import { addMatrix, dense } from "./matrix.ts";

/** What an ONNX file may hold, with room for all that is no weight. */
const MOST_BYTES = 2 ** 31 - 2 ** 20;
const PREFIXES = ["", "medusa_head."];

/** Draft heads as Medusa publishes them (Cai et al. 2024, arXiv 2401.10774): its `medusa_lm_head`. */
export interface MedusaHeads {
  /** Before each tensor's name. */
  readonly prefix: string;
  readonly count: number;
  /** Residual blocks of a head, before its output matrix. */
  readonly layers: number;
}

/** null: the file is no file of Medusa's. */
export function medusaHeads(file: SafeTensors): MedusaHeads | null {
  const prefix = PREFIXES.find((name) => file.has(`${name}0.0.linear.weight`));
  if (prefix === undefined) return null;
  let count = 0;
  while (file.has(`${prefix}${count}.0.linear.weight`)) count++;
  let layers = 0;
  while (file.has(`${prefix}0.${layers}.linear.weight`)) layers++;
  return { prefix, count, layers };
}

/** Throws Error naming the tensor that is missing or of another shape than the model's. */
export function checkMedusa(
  file: SafeTensors,
  heads: MedusaHeads,
  { width, vocabSize }: LlamaConfig,
  topK: number,
): void {
  const { prefix, count, layers } = heads;
  const expected = Array.from({ length: count }, (_, j) => [
    ...Array.from({ length: layers }, (_, layer) => [
      [`${prefix}${j}.${layer}.linear.weight`, [width, width]] as const,
      [`${prefix}${j}.${layer}.linear.bias`, [width]] as const,
    ]).flat(),
    [`${prefix}${j}.${layers}.weight`, [vocabSize, width]] as const,
  ]).flat();
  let bytes = 0;
  for (const [name, shape] of expected) {
    if (!file.has(name))
      throw new Error(`Medusa's heads lack ${name}, of ${count} heads with ${layers} residual block(s)`);
    const found = file.shape(name);
    if (found.join() !== shape.join()) {
      throw new Error(`Medusa's ${name} is [${found.join(", ")}]; this model's heads have [${shape.join(", ")}]`);
    }
    bytes += 4 * shape.reduce((product, size) => product * size, 1);
  }
  if (bytes > MOST_BYTES) {
    throw new Error(`Medusa's ${count} heads take ${(bytes / 2 ** 30).toFixed(1)} GiB in float32; a graph holds 2 GiB`);
  }
  if (topK > vocabSize) throw new Error(`the vocabulary has ${vocabSize} tokens, fewer than topK ${topK}`);
}

/**
 * The heads graph: the state after the final norm, x [S, D], and the bonus tokens, which Medusa does not look at, ->
 * lattices [S, heads, topK].
 *   x_j = x, then for each residual block x_j + silu(linear x_j);  logits_j = weight_j x_j, log-softmax over all tokens
 */
export function buildMedusa(
  file: SafeTensors,
  { prefix, count, layers }: MedusaHeads,
  width: number,
  topK: number,
): Uint8Array {
  const graph = new GraphBuilder();
  const hidden = graph.input("hidden", FLOAT, ["S", width]);
  graph.input("bonus", INT32, ["S"]);
  const tokens: string[] = [];
  const logProbs: string[] = [];
  const row = graph.ints([1]);
  for (let j = 0; j < count; j++) {
    let x = hidden;
    for (let layer = 0; layer < layers; layer++) {
      const name = `${prefix}${j}.${layer}.linear`;
      const product = addMatrix(graph, `${name}.weight`, dense(file, `${name}.weight`), "fp32").multiply(x);
      const bias = graph.floats(`${name}.bias`, file.floats(`${name}.bias`), [1, width]);
      const changed = graph.op("QuickGelu", [graph.op("Add", [product, bias])], { alpha: { float: 1 } });
      x = graph.op("Add", [x, changed]);
    }
    const output = `${prefix}${j}.${layers}.weight`;
    const logits = addMatrix(graph, output, dense(file, output), "fp32").multiply(x);
    const [top, index] = graph.ops("TopK", [logits, graph.ints([topK])], 2, { axis: 1, sorted: 1 });
    const mass = graph.op("ReduceLogSumExp", [logits, graph.ints([1])], { keepdims: 1 });
    logProbs.push(graph.op("Unsqueeze", [graph.op("Sub", [top!, mass]), row]));
    tokens.push(graph.op("Unsqueeze", [graph.op("Cast", [index!], { to: INT32 }), row]));
  }
  graph.output("log_probs", graph.op("Concat", logProbs, { axis: 1 }), FLOAT, ["S", count, topK]);
  graph.output("tokens", graph.op("Concat", tokens, { axis: 1 }), INT32, ["S", count, topK]);
  return graph.build("heads");
}
