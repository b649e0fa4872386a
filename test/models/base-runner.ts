import ort from "onnxruntime-node";

/** Enough for every test; slots that nothing was written to stay masked. */
const SLOTS = 128;
const MASKED = -1e9;

export interface RunnerShape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

export interface Forward {
  /** [R] */
  readonly argmax: Int32Array;
  /** [R, vocabulary] */
  readonly logits: Float32Array;
  /** [R, features * width] */
  readonly hidden: Float32Array;
}

/** A base model over one sequence. */
export interface PlainRunner {
  /** Forgets the sequence. */
  reset(): void;
  /**
   * Runs `tokens` after the cached ones. `parents[i]` is the new row that row i continues, -1 for the
   * cached prefix; without them the rows are a chain. `keep` rows are appended to the cache, in order.
   */
  run(
    tokens: readonly number[],
    parents?: readonly number[],
    keep?: readonly number[],
    rows?: readonly number[],
  ): Promise<Forward>;
  close(): Promise<void>;
}

/** Runs a base graph as its contract (models/README.md) says, the plain way: one sequence, one cache. */
export class BaseRunner implements PlainRunner {
  readonly #session: ort.InferenceSession;
  readonly #shape: RunnerShape;
  /** Per layer keys, then values: [kvHeads, SLOTS, headDim] each. */
  readonly #cache: Float32Array[];
  length = 0;

  private constructor(session: ort.InferenceSession, shape: RunnerShape) {
    this.#session = session;
    this.#shape = shape;
    const size = shape.kvHeads * SLOTS * shape.headDim;
    this.#cache = Array.from({ length: 2 * shape.layers }, () => new Float32Array(size));
  }

  static async open(model: string | Uint8Array, shape: RunnerShape): Promise<BaseRunner> {
    const options = { intraOpNumThreads: 1, logSeverityLevel: 3 } as const;
    const session = await (typeof model === "string"
      ? ort.InferenceSession.create(model, options)
      : ort.InferenceSession.create(model, options));
    return new BaseRunner(session, shape);
  }

  close(): Promise<void> {
    return this.#session.release();
  }

  reset(): void {
    this.length = 0;
  }

  async run(
    tokens: readonly number[],
    parents: readonly number[] = tokens.map((_, i) => i - 1),
    keep: readonly number[] = tokens.map((_, i) => i),
    rows: readonly number[] = tokens.map((_, i) => i),
  ): Promise<Forward> {
    const M = tokens.length;
    const bias = new Float32Array(M * (SLOTS + M)).fill(MASKED);
    const positions = new Int32Array(M);
    for (let row = 0; row < M; row++) {
      bias.fill(0, row * (SLOTS + M), row * (SLOTS + M) + this.length);
      for (let at = row; at >= 0; at = parents[at]!) {
        bias[row * (SLOTS + M) + SLOTS + at] = 0;
        positions[row]!++;
      }
      positions[row]! += this.length - 1;
    }
    const { kvHeads, headDim } = this.#shape;
    const feeds: Record<string, ort.Tensor> = {
      tokens: new ort.Tensor("int32", Int32Array.from(tokens), [M]),
      positions: new ort.Tensor("int32", positions, [M]),
      rows: new ort.Tensor("int32", Int32Array.from(rows), [rows.length]),
      bias: new ort.Tensor("float32", bias, [M, SLOTS + M]),
    };
    this.#cache.forEach((buffer, i) => {
      const name = `past_${i % 2 === 0 ? "k" : "v"}_${i >> 1}`;
      feeds[name] = new ort.Tensor("float32", buffer, [kvHeads, SLOTS, headDim]);
    });
    const out = await this.#session.run(feeds);
    this.#append(out.new_kv!.data as Float32Array, M, keep);
    return {
      argmax: out.argmax!.data as Int32Array,
      logits: out.logits!.data as Float32Array,
      hidden: out.hidden!.data as Float32Array,
    };
  }

  /** newKv [layers, 2, kvHeads, M, headDim] */
  #append(newKv: Float32Array, M: number, keep: readonly number[]): void {
    const { kvHeads, headDim } = this.#shape;
    this.#cache.forEach((buffer, i) => {
      for (let head = 0; head < kvHeads; head++) {
        keep.forEach((row, n) => {
          const from = ((i * kvHeads + head) * M + row) * headDim;
          buffer.set(newKv.subarray(from, from + headDim), (head * SLOTS + this.length + n) * headDim);
        });
      }
    });
    this.length += keep.length;
  }
}
