import type { LlamaConfig } from "../llama.ts";
import { FLOAT, GraphBuilder, INT32 } from "./graph.ts";

/**
 * The graph that takes keys and values from one pass to the next where they lie: past_k_i and past_v_i [kvHeads, C, headDim] of every block,
 * a pass's new rows `fresh` [layers, 2, kvHeads, M, headDim] and `order` int32 [N] -> next_k_i and next_v_i [kvHeads, N, headDim], whose
 * column n is column order[n] of past and fresh side by side.
 */
export function buildPast({ layers, kvHeads, headDim }: LlamaConfig): Uint8Array {
  const graph = new GraphBuilder();
  const fresh = graph.input("fresh", FLOAT, [layers, 2, kvHeads, "M", headDim]);
  const order = graph.input("order", INT32, ["N"]);
  const parts = graph.ops(
    "Split",
    [graph.op("Reshape", [fresh, graph.ints([2 * layers, kvHeads, -1, headDim])])],
    2 * layers,
    {
      axis: 0,
      num_outputs: 2 * layers,
    },
  );
  for (const [i, part] of parts.entries()) {
    const name = `${i % 2 === 0 ? "k" : "v"}_${Math.floor(i / 2)}`;
    const past = graph.input(`past_${name}`, FLOAT, [kvHeads, "C", headDim]);
    const both = graph.op("Concat", [past, graph.op("Reshape", [part, graph.ints([kvHeads, -1, headDim])])], {
      axis: 1,
    });
    graph.output(`next_${name}`, graph.op("Gather", [both, order], { axis: 1 }), FLOAT, [kvHeads, "N", headDim]);
  }
  return graph.build("past");
}
