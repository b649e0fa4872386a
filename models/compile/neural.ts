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
 * goes through the lattice: at each position it shares out anew what the candidates w have of the probability m(w)
 * beside their copied part c(w),
 *   v(w) = m(w) - c(w);  m'(w) = c(w) + sum(v) softmax((1 - alpha) log v(w) + alpha log p(w)),
 * takes the likeliest and reads it. Inputs and outputs: models/README.md.
 */
export async function buildNeural(llama: LlamaWeights, file: SafeTensors, precision: Precision): Promise<Uint8Array> {
  const size = neuralSize(file);
  const graph = new GraphBuilder();
  const state = graph.input("state", FLOAT, [1, size]);
  const committed = graph.input("committed", INT32, ["T"]);
  const bonus = graph.input("bonus", INT32, [1]);
  const tokens = graph.input("tokens", INT32, ["n", "k"]);
  const logProbs = graph.input("log_probs", FLOAT, ["n", "k"]);
  const copied = graph.input("copied", FLOAT, ["n", "k"]);
  const alpha = graph.input("alpha", FLOAT, [1]);
  const cell = await Cell.add(graph, llama, file, precision);
  const start = readLoop(cell, state, committed);
  graph.output("next_state", start, FLOAT, [1, size]);
  graph.output("scores", scoreLoop(cell, { start, bonus, tokens, logProbs, copied, alpha }), FLOAT, ["n", "k"]);
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
  readonly copied: Value;
  /** [1] */
  readonly alpha: Value;
}

/** log m' [n, k], left to right along the likeliest candidates. */
function scoreLoop(cell: Cell, { start, bonus, tokens, logProbs, copied, alpha }: ScoreInputs): Value {
  const { graph } = cell;
  const shares = new Shares(graph, alpha);
  const body = new GraphBuilder("score_");
  const before = body.input("state", FLOAT, [1, cell.size]);
  const token = body.input("token", INT32, [1]);
  const candidates = body.input("tokens", INT32, ["k"]);
  const mixed = body.input("log_probs", FLOAT, ["k"]);
  const copies = body.input("copied", FLOAT, ["k"]);
  const after = cell.advance(cell.gates(token, body), before, body);
  const own = cell.logProbs(after, candidates, body);
  const scores = shares.withCopies(shares.rescored(mixed, copies, own, body), copies, body);
  const best = body.op("ArgMax", [scores], { axis: 0, keepdims: 1 });
  body.output("next", after, FLOAT, [1, cell.size]);
  body.output("best", body.op("Gather", [candidates, best], { axis: 0 }), INT32, [1]);
  body.output("scores", scores, FLOAT, ["k"]);
  const attributes = { body: { graph: body.body("score") }, num_scan_inputs: 3 };
  return graph.ops("Scan", [start, bonus, tokens, logProbs, copied], 3, attributes)[2]!;
}

/** The formulas over one column's probabilities. Without copies nothing but the softmax touches them. */
class Shares {
  readonly #alpha: Value;
  readonly #rest: Value;
  readonly #one: Value;
  readonly #zero: Value;
  readonly #least: Value;
  readonly #leastMass: Value;
  readonly #largest: Value;

  constructor(graph: GraphBuilder, alpha: Value) {
    const number = (name: string, value: number) => graph.floats(name, Float32Array.of(value), [1]);
    this.#alpha = alpha;
    this.#one = number("one", 1);
    this.#zero = number("zero", 0);
    // What a candidate that was only copied keeps of its probability: far below what rounding to float16 may leave it.
    this.#least = number("least_share", 2 ** -20);
    // Bounds of what float32 can hold.
    this.#leastMass = number("least_mass", 1e-37);
    this.#largest = number("largest_exponent", 80);
    this.#rest = graph.op("Sub", [this.#one, alpha]);
  }

  /** log m, c and log p, each [k] -> log v' [k]: all but the copied parts, shared out anew. */
  rescored(logProbs: Value, copied: Value, own: Value, at: GraphBuilder): Value {
    const inverse = at.op("Exp", [at.op("Min", [at.op("Neg", [logProbs]), this.#largest])]);
    const left = at.op("Max", [at.op("Sub", [this.#one, at.op("Mul", [copied, inverse])]), this.#least]);
    const log = at.op("Add", [logProbs, at.op("Log", [left])]);
    const scores = at.op("Add", [at.op("Mul", [log, this.#rest]), at.op("Mul", [own, this.#alpha])]);
    const mass = at.op("ReduceLogSumExp", [log], { keepdims: 1 });
    return at.op("Add", [at.op("LogSoftmax", [scores], { axis: 0 }), mass]);
  }

  /** log v' and c, each [k] -> log(v' + c) [k]. */
  withCopies(log: Value, copied: Value, at: GraphBuilder): Value {
    const logCopied = at.op("Log", [at.op("Max", [copied, this.#leastMass])]);
    const top = at.op("Max", [log, logCopied]);
    const parts = [log, logCopied].map((part) => at.op("Exp", [at.op("Sub", [part, top])]));
    const both = at.op("Add", [top, at.op("Log", [at.op("Add", parts)])]);
    return at.op("Where", [at.op("Greater", [copied, this.#zero]), both, log]);
  }
}
