import type { Precision } from "../../shared/manifest.ts";
import type { LlamaWeights } from "../llama.ts";
import type { SafeTensors } from "../safetensors.ts";
import { FLOAT, GraphBuilder, INT32, type Value } from "./graph.ts";
import { addMatrix, dense, type Matrix, weightsOf } from "./matrix.ts";

const EPSILON = 1e-5;

/** Width of the recurrent state. */
function neuralSize(file: SafeTensors): number {
  return file.get("hidden.weight").shape[1]!;
}

/**
 * The local rescorer's graph: a gated recurrent unit between the base's shared embeddings E, in two loops.
 *   x = E[token] / rms;  r, z = sigmoid(input x + hidden h);  n = tanh(input_n x + r (hidden_n h))
 *   h' = (1 - z) n + z h;  p(w) = softmax over a column's candidates of E[w] (output h' + bias)
 * The first loop reads the committed tokens but for the newest one, `bonus`; the second starts with that one and
 * goes through the lattice: at each position it scores the candidates,
 *   score(w) = (1 - alpha) log p_head(w) + alpha log p(w),
 * takes the best and reads it. Inputs and outputs: models/README.md.
 */
export async function buildNeural(llama: LlamaWeights, file: SafeTensors, precision: Precision): Promise<Uint8Array> {
  const size = neuralSize(file);
  const graph = new GraphBuilder();
  const state = graph.input("state", FLOAT, [1, size]);
  const committed = graph.input("committed", INT32, ["T"]);
  const bonus = graph.input("bonus", INT32, [1]);
  const tokens = graph.input("tokens", INT32, ["n", "k"]);
  const logProbs = graph.input("log_probs", FLOAT, ["n", "k"]);
  const alpha = graph.input("alpha", FLOAT, [1]);
  const cell = await Cell.add(graph, llama, file, precision);
  const start = readLoop(cell, state, committed);
  graph.output("next_state", start, FLOAT, [1, size]);
  graph.output("scores", scoreLoop(cell, { start, bonus, tokens, logProbs, alpha }), FLOAT, ["n", "k"]);
  return graph.build("neural");
}

/** The weights, stored once, and the formulas over them, in the graph or in a loop's body. */
class Cell {
  readonly graph: GraphBuilder;
  readonly size: number;
  readonly #embedding: Matrix;
  readonly #input: Matrix;
  readonly #hidden: Matrix;
  readonly #output: Matrix;
  readonly #biases: { readonly input: Value; readonly hidden: Value; readonly output: Value };
  readonly #ones: Value;

  private constructor(graph: GraphBuilder, file: SafeTensors, precision: Precision, embedding: Matrix) {
    const width = file.get("output.weight").shape[0]!;
    const size = neuralSize(file);
    const bias = (name: string, columns: number) => graph.floats(name, file.floats(name), [1, columns]);
    this.graph = graph;
    this.size = size;
    this.#embedding = embedding;
    this.#input = addMatrix(graph, "input", dense(file, "input.weight"), precision);
    this.#hidden = addMatrix(graph, "hidden", dense(file, "hidden.weight"), precision);
    this.#output = addMatrix(graph, "output", dense(file, "output.weight"), precision);
    this.#biases = {
      input: bias("input.bias", 3 * size),
      hidden: bias("hidden.bias", 3 * size),
      output: bias("output.bias", width),
    };
    this.#ones = graph.floats("ones", new Float32Array(width).fill(1), [width]);
  }

  static async add(graph: GraphBuilder, llama: LlamaWeights, file: SafeTensors, precision: Precision): Promise<Cell> {
    const embedding = addMatrix(graph, "embedding", weightsOf(await llama.embedding()), precision);
    return new Cell(graph, file, precision, embedding);
  }

  /** tokens int32 [M] -> the input's share of the gates [M, 3 size]. */
  gates(tokens: Value, at: GraphBuilder): Value {
    const rows = this.#embedding.lookUp(tokens, at);
    const x = at.op("SimplifiedLayerNormalization", [rows, this.#ones], { axis: -1, epsilon: { float: EPSILON } });
    return at.op("Add", [this.#input.multiply(x, at), this.#biases.input]);
  }

  /** gates [1, 3 size], h [1, size] -> h' [1, size]. */
  advance(gates: Value, h: Value, at: GraphBuilder): Value {
    const { size } = this;
    const parts = at.ints([2 * size, size]);
    const inner = at.op("Add", [this.#hidden.multiply(h, at), this.#biases.hidden]);
    const [outerGates, outerNew] = at.ops("Split", [gates, parts], 2, { axis: 1 });
    const [innerGates, innerNew] = at.ops("Split", [inner, parts], 2, { axis: 1 });
    const both = at.op("Sigmoid", [at.op("Add", [outerGates!, innerGates!])]);
    const [reset, update] = at.ops("Split", [both, at.ints([size, size])], 2, { axis: 1 });
    const fresh = at.op("Tanh", [at.op("Add", [outerNew!, at.op("Mul", [reset!, innerNew!])])]);
    return at.op("Add", [fresh, at.op("Mul", [update!, at.op("Sub", [h, fresh])])]);
  }

  /** h [1, size], candidates int32 [k] -> log p [k], normalised over these candidates. */
  logProbs(h: Value, candidates: Value, at: GraphBuilder): Value {
    const out = at.op("Add", [this.#output.multiply(h, at), this.#biases.output]);
    const rows = this.#embedding.lookUp(candidates, at);
    const logits = at.op("Gemm", [out, rows], { transB: 1 });
    return at.op("Reshape", [at.op("LogSoftmax", [logits], { axis: 1 }), at.ints([-1])]);
  }
}

/** The state after `tokens` [T], read from state h. */
function readLoop(cell: Cell, h: Value, tokens: Value): Value {
  const body = new GraphBuilder("read_");
  const before = body.input("state", FLOAT, [1, cell.size]);
  const gates = body.input("gates", FLOAT, [3 * cell.size]);
  const row = body.op("Reshape", [gates, body.ints([1, -1])]);
  body.output("next", cell.advance(row, before, body), FLOAT, [1, cell.size]);
  const all = cell.gates(tokens, cell.graph);
  return cell.graph.op("Scan", [h, all], { body: { graph: body.body("read") }, num_scan_inputs: 1 });
}

interface ScoreInputs {
  /** [1, size], before `bonus`. */
  readonly start: Value;
  readonly bonus: Value;
  /** [n, k] */
  readonly tokens: Value;
  readonly logProbs: Value;
  /** [1] */
  readonly alpha: Value;
}

/** The scores [n, k], left to right along the best candidates. */
function scoreLoop(cell: Cell, { start, bonus, tokens, logProbs, alpha }: ScoreInputs): Value {
  const { graph } = cell;
  const headsShare = graph.op("Sub", [graph.floats("one", Float32Array.of(1), [1]), alpha]);
  const body = new GraphBuilder("score_");
  const before = body.input("state", FLOAT, [1, cell.size]);
  const token = body.input("token", INT32, [1]);
  const candidates = body.input("tokens", INT32, ["k"]);
  const heads = body.input("log_probs", FLOAT, ["k"]);
  const after = cell.advance(cell.gates(token, body), before, body);
  const own = cell.logProbs(after, candidates, body);
  const scores = body.op("Add", [body.op("Mul", [heads, headsShare]), body.op("Mul", [own, alpha])]);
  const best = body.op("ArgMax", [scores], { axis: 0, keepdims: 1 });
  body.output("next", after, FLOAT, [1, cell.size]);
  body.output("best", body.op("Gather", [candidates, best], { axis: 0 }), INT32, [1]);
  body.output("scores", scores, FLOAT, ["k"]);
  const attributes = { body: { graph: body.body("score") }, num_scan_inputs: 2 };
  return graph.ops("Scan", [start, bonus, tokens, logProbs], 3, attributes)[2]!;
}
