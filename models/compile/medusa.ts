import type { Precision } from "../../shared/manifest.ts";
import type { LlamaConfig, LlamaWeights } from "../llama.ts";
import type { SafeTensors } from "../safetensors.ts";
import { FLOAT, GraphBuilder, INT32, type TensorStore, type Value } from "./graph.ts";
import { addMatrix, dense } from "./matrix.ts";

/** Before the names of tensors, in files of the heads alone and in those of a whole model. */
const PREFIXES = ["", "medusa_head."];

/** Draft heads in Medusa's published format: their number, and the residual blocks of each. */
export interface MedusaHeads {
  readonly prefix: string;
  readonly count: number;
  readonly blocks: number;
}

/** null: the file is of another format. */
export function medusaHeads(file: SafeTensors): MedusaHeads | null {
  const prefix = PREFIXES.find((one) => file.has(`${one}0.0.linear.weight`));
  if (prefix === undefined) return null;
  let [count, blocks] = [1, 1];
  while (file.has(`${prefix}0.${blocks}.linear.weight`)) blocks++;
  while (file.has(`${prefix}${count}.0.linear.weight`)) count++;
  return { prefix, count, blocks };
}

/**
 * The graph of heads as T. Cai et al. publish them (`medusa_lm_head`, FasterDecoding/Medusa): from the final hidden state h
 * [S, D], of every head j some residual blocks and a matrix of its own over the whole vocabulary,
 *   h <- h + silu(linear h + bias);  logits_j = weight h
 * -> lattices [S, heads, topK]. They do not look at the bonus token. Beside a model in integers the matrices have eight
 * bits, too, where the width is a multiple of 32. Throws as checkMedusaHeads does.
 */
export async function buildMedusaHeads(
  llama: LlamaWeights,
  file: SafeTensors,
  topK: number,
  precision: Precision,
  store: TensorStore | null = null,
): Promise<Uint8Array> {
  const { width } = llama.config;
  const heads = checkMedusaHeads(file, llama.config);
  const graph = new GraphBuilder("", store);
  const hidden = graph.input("hidden", FLOAT, ["S", width]);
  graph.input("bonus", INT32, ["S"]);
  const rows = Array.from({ length: heads.count }, (_, j) => {
    const name = (part: string) => `${heads.prefix}${j}.${part}`;
    let state = hidden;
    for (let block = 0; block < heads.blocks; block++) {
      const linear = addMatrix(graph, `head_${j}_${block}`, dense(file, name(`${block}.linear.weight`)), precision);
      const bias = graph.floats(`bias_${j}_${block}`, file.floats(name(`${block}.linear.bias`)), [1, width]);
      const inner = graph.op("Add", [linear.multiply(state), bias]);
      state = graph.op("Add", [state, graph.op("QuickGelu", [inner], { alpha: { float: 1 } })]);
    }
    const output = addMatrix(graph, `output_${j}`, dense(file, name(`${heads.blocks}.weight`)), precision);
    const logits = output.multiply(state);
    return likeliest(graph, logits, topK);
  });
  const joined = (values: readonly Value[]) =>
    graph.op(
      "Concat",
      values.map((value) => graph.op("Unsqueeze", [value, graph.ints([1])])),
      { axis: 1 },
    );
  const shape = ["S", heads.count, topK];
  graph.output("log_probs", joined(rows.map(({ logProbs }) => logProbs)), FLOAT, shape);
  graph.output("tokens", joined(rows.map(({ tokens }) => tokens)), INT32, shape);
  return graph.build("heads");
}

/** Logits [S, V] -> [S, topK] each. */
function likeliest(graph: GraphBuilder, logits: Value, topK: number): { logProbs: Value; tokens: Value } {
  const [top, index] = graph.ops("TopK", [logits, graph.ints([topK])], 2, { axis: 1, sorted: 1 });
  const mass = graph.op("ReduceLogSumExp", [logits, graph.ints([1])], { keepdims: 1 });
  return { logProbs: graph.op("Sub", [top!, mass]), tokens: graph.op("Cast", [index!], { to: INT32 }) };
}

/** Throws Error naming a tensor that is missing or does not fit the model. */
export function checkMedusaHeads(file: SafeTensors, { width, vocabSize }: LlamaConfig): MedusaHeads {
  const heads = medusaHeads(file);
  if (heads === null) throw new Error("these are no heads of Medusa's");
  const { prefix, count, blocks } = heads;
  for (let j = 0; j < count; j++) {
    for (let block = 0; block < blocks; block++) {
      expectShape(file, `${prefix}${j}.${block}.linear.weight`, [width, width]);
      expectShape(file, `${prefix}${j}.${block}.linear.bias`, [width]);
    }
    expectShape(file, `${prefix}${j}.${blocks}.weight`, [vocabSize, width]);
  }
  return heads;
}

function expectShape(file: SafeTensors, name: string, shape: readonly number[]): void {
  const found = file.get(name).shape;
  if (found.join() === shape.join()) return;
  throw new Error(`the heads' ${name} is [${found.join(", ")}], and of this model it would be [${shape.join(", ")}]`);
}
