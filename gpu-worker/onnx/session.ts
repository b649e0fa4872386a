import ort from "onnxruntime-node";
import { assert } from "../../shared/assert.ts";
import { createLattice } from "../../shared/lattice.ts";
import type { Bundle } from "../bundle.ts";
import type { ForwardInputs } from "../inputs.ts";
import type { KvBuffers } from "../kv-cache.ts";
import type { Forward, HeadsOutput, Model, ModelShape, Wanted } from "../model.ts";

export type Provider = "cpu" | "webgpu";

export interface OnnxOptions {
  readonly provider: Provider;
  /** Threads of one forward pass on the CPU. */
  readonly threads: number;
  /** Whether these threads wait busily for one another: faster, unless others want the same cores. */
  readonly spinning: boolean;
}

type Feeds = Record<string, ort.Tensor>;

/** Throws Error where the provider cannot start or a graph lacks what is needed of it. */
export async function loadModel(bundle: Bundle, options: OnnxOptions): Promise<Model> {
  const { layers } = bundle.shape;
  const past = Array.from({ length: layers }, (_, i) => [`past_k_${i}`, `past_v_${i}`]).flat();
  const base = await load(bundle.basePath, options);
  checkNames(
    bundle.basePath,
    base,
    ["tokens", "positions", "rows", "bias", ...past],
    ["argmax", "logits", "hidden", "new_kv"],
  );
  if (bundle.shape.latticeHeads === 0) return new OnnxModel(bundle.shape, base, null);
  const heads = await load(bundle.headsPath, options);
  checkNames(bundle.headsPath, heads, ["hidden", "bonus"], headsOutputs(bundle.shape));
  return new OnnxModel(bundle.shape, base, heads);
}

function headsOutputs({ copyHeads }: ModelShape): string[] {
  return ["tokens", "log_probs", ...(copyHeads === null ? [] : ["gate"])];
}

export async function load(path: string, { provider, threads, spinning }: OnnxOptions): Promise<ort.InferenceSession> {
  try {
    return await ort.InferenceSession.create(path, {
      executionProviders: [provider],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 3,
      extra: {
        session: {
          // Threads that wait busily answer sooner, but between forward passes the core belongs to others.
          force_spinning_stop: "1",
          intra_op: { allow_spinning: spinning ? "1" : "0" },
        },
      },
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`onnxruntime cannot load ${path} with the provider "${provider}": ${reason}`);
  }
}

export function checkNames(path: string, session: ort.InferenceSession, inputs: string[], outputs: string[]): void {
  const missing = [
    ...inputs.filter((name) => !session.inputNames.includes(name)),
    ...outputs.filter((name) => !session.outputNames.includes(name)),
  ];
  if (missing.length > 0) throw new Error(`${path} lacks ${missing.join(", ")}`);
}

/** onnxruntime runs on the calling thread and blocks it. */
class OnnxModel implements Model {
  readonly shape: ModelShape;
  readonly #base: ort.InferenceSession;
  readonly #heads: ort.InferenceSession | null;
  /** Tensors over a cache's buffers, made once per capacity; the other inputs are put in before each run. */
  readonly #feeds = new WeakMap<KvBuffers, Feeds>();

  constructor(shape: ModelShape, base: ort.InferenceSession, heads: ort.InferenceSession | null) {
    this.shape = shape;
    this.#base = base;
    this.#heads = heads;
  }

  async forward(inputs: ForwardInputs, past: KvBuffers, wanted: Wanted): Promise<Forward> {
    const { count, capacity, tokens, positions, rows, bias } = inputs;
    const feeds = this.#feedsOf(past);
    feeds.tokens = new ort.Tensor("int32", tokens, [count]);
    feeds.positions = new ort.Tensor("int32", positions, [count]);
    feeds.rows = new ort.Tensor("int32", rows, [rows.length]);
    feeds.bias = new ort.Tensor("float32", bias, [count, capacity + count]);
    const fetches = ["argmax", "new_kv"];
    if (wanted.logits) fetches.push("logits");
    if (wanted.hidden) fetches.push("hidden");
    const outputs = await this.#base.run(feeds, fetches);
    return {
      argmax: int32(outputs, "argmax", rows.length),
      logits: wanted.logits ? float32(outputs, "logits", rows.length * this.shape.vocabSize) : null,
      hidden: wanted.hidden ? float32(outputs, "hidden", rows.length * this.shape.hiddenWidth) : null,
      newKv: float32(outputs, "new_kv", -1),
    };
  }

  async heads(hidden: Float32Array, bonus: number): Promise<HeadsOutput> {
    assert(this.#heads !== null, "the bundle has draft heads");
    const { latticeHeads, topK, hiddenWidth, copyHeads } = this.shape;
    const outputs = await this.#heads.run({
      hidden: new ort.Tensor("float32", hidden, [1, hiddenWidth]),
      bonus: new ort.Tensor("int32", Int32Array.of(bonus), [1]),
    });
    const tokens = int32(outputs, "tokens", latticeHeads * topK);
    const logProbs = float32(outputs, "log_probs", latticeHeads * topK);
    // Rounding may lift the log-probability of a near certainty above 0.
    for (let i = 0; i < logProbs.length; i++) if (logProbs[i]! > 0) logProbs[i] = 0;
    const ids = new Uint32Array(tokens.buffer, tokens.byteOffset, tokens.length);
    return {
      lattice: createLattice(latticeHeads, topK, ids, logProbs),
      gate: copyHeads === null ? null : float32(outputs, "gate", latticeHeads),
    };
  }

  async release(): Promise<void> {
    await this.#base.release();
    await this.#heads?.release();
  }

  #feedsOf(past: KvBuffers): Feeds {
    const known = this.#feeds.get(past);
    if (known !== undefined) return known;
    const { kvHeads, headDim } = this.shape;
    const dims = [kvHeads, past.capacity, headDim];
    const feeds: Feeds = {};
    for (const [i, data] of past.keys.entries()) feeds[`past_k_${i}`] = new ort.Tensor("float32", data, dims);
    for (const [i, data] of past.values.entries()) {
      const name = `past_v_${i}`;
      feeds[name] =
        data instanceof Float64Array ? new ort.Tensor("float64", data, dims) : new ort.Tensor("float32", data, dims);
    }
    this.#feeds.set(past, feeds);
    return feeds;
  }
}

function int32(outputs: ort.InferenceSession.OnnxValueMapType, name: string, length: number): Int32Array {
  const data = outputs[name]?.data;
  if (!(data instanceof Int32Array) || data.length !== length)
    throw new Error(`output ${name} is not int32 [${length}]`);
  return data;
}

/** Of any length where `length` is -1. */
export function float32(outputs: ort.InferenceSession.OnnxValueMapType, name: string, length: number): Float32Array {
  const data = outputs[name]?.data;
  if (!(data instanceof Float32Array) || (length !== -1 && data.length !== length)) {
    throw new Error(`output ${name} is not float32 [${length}]`);
  }
  return data;
}
