import ort from "onnxruntime-node";
import { assert } from "../../shared/assert.ts";
import type { BundleShape } from "../bundle.ts";
import type { Forward, HeadsOutput, Model, Segment } from "../model.ts";
import { type HeadsGraph, loadHeads } from "../onnx/heads.ts";
import { float32, int32, loadGraph, type OnnxOptions } from "../onnx/session.ts";
import { InputBuilder } from "./inputs.ts";
import { PageStore } from "./page-store.ts";

/** Rows of one pass. */
const MAX_ROWS = 512;
/** Columns of the past are a multiple of this, so that few shapes occur. */
const COLUMNS = 64;

export interface GraphOptions extends OnnxOptions {
  readonly shape: BundleShape;
  readonly basePath: string;
  readonly headsPath: string | null;
  /** Bytes for the cache. */
  readonly kvBytes: number;
}

/**
 * A model that is one float32 graph, on any provider of onnxruntime. The sessions of a pass run one after the other,
 * and their pasts are handed over anew each time: right everywhere, and fast nowhere.
 */
export class GraphModel implements Model {
  readonly shape: BundleShape;
  readonly maxRows = MAX_ROWS;
  readonly #store: PageStore;
  readonly #base: ort.InferenceSession;
  readonly #heads: HeadsGraph | null;
  readonly #inputs = new InputBuilder();
  /** [hiddenWidth] of each wanted row of the last pass. */
  #hidden: Float32Array[] = [];

  private constructor(options: GraphOptions, base: ort.InferenceSession, heads: HeadsGraph | null) {
    this.shape = options.shape;
    this.#store = new PageStore(options.shape, options.kvBytes);
    this.#base = base;
    this.#heads = heads;
  }

  /** Throws Error where the provider cannot start or a graph lacks what is needed of it. */
  static async load(options: GraphOptions): Promise<GraphModel> {
    const past = Array.from({ length: options.shape.layers }, (_, i) => [`past_k_${i}`, `past_v_${i}`]).flat();
    const base = await loadGraph(options.basePath, options, {
      inputs: ["tokens", "positions", "rows", "bias", ...past],
      outputs: ["argmax", "logits", "hidden", "new_kv"],
    });
    return new GraphModel(options, base, await loadHeads(options.headsPath, options.shape, options));
  }

  get pages(): number {
    return this.#store.pages;
  }

  async forward(segments: readonly Segment[]): Promise<Forward> {
    const { vocabSize, width, taps } = this.shape;
    const hiddenWidth = width * (taps.length + 1);
    const argmax: number[] = [];
    const logits: (Float32Array | null)[] = [];
    this.#hidden = [];
    for (const segment of segments) {
      const outputs = await this.#run(segment);
      this.#store.put(segment, float32(outputs, "new_kv", -1));
      if (segment.wanted === "none") continue;
      const count = segment.wanted === "all" ? segment.tokens.length : 1;
      argmax.push(...int32(outputs, "argmax", count));
      const hidden = float32(outputs, "hidden", count * hiddenWidth);
      const all = segment.logits ? float32(outputs, "logits", count * vocabSize) : null;
      for (let row = 0; row < count; row++) {
        logits.push(all?.subarray(row * vocabSize, (row + 1) * vocabSize) ?? null);
        this.#hidden.push(hidden.subarray(row * hiddenWidth, (row + 1) * hiddenWidth));
      }
    }
    return {
      argmax: Int32Array.from(argmax),
      logits(row) {
        const found = logits[row];
        assert(found != null, "these logits were asked for");
        return found;
      },
    };
  }

  async heads(requests: readonly { readonly row: number; readonly bonus: number }[]): Promise<HeadsOutput[]> {
    assert(this.#heads !== null, "the bundle has draft heads");
    const features = Float32Array.from(requests.flatMap(({ row }) => [...this.#hidden[row]!]));
    return await this.#heads.run(
      features,
      Int32Array.from(requests, ({ bonus }) => bonus),
    );
  }

  keep({ pages, length }: Segment, rows: readonly number[]): void {
    for (const [i, row] of rows.entries()) if (row !== i) this.#store.move(pages, length + row, length + i);
  }

  async release(): Promise<void> {
    await this.#base.release();
    await this.#heads?.release();
  }

  async #run(segment: Segment): Promise<ort.InferenceSession.OnnxValueMapType> {
    const { layers, kvHeads, headDim } = this.shape;
    const capacity = Math.max(1, Math.ceil(segment.length / COLUMNS)) * COLUMNS;
    const { count, tokens, positions, rows, bias } = this.#inputs.rows(segment, capacity);
    const feeds: Record<string, ort.Tensor> = {
      tokens: new ort.Tensor("int32", tokens, [count]),
      positions: new ort.Tensor("int32", positions, [count]),
      rows: new ort.Tensor("int32", rows, [rows.length]),
      bias: new ort.Tensor("float32", bias, [count, capacity + count]),
    };
    const past = this.#store.past(segment, capacity);
    for (let i = 0; i < layers; i++) {
      feeds[`past_k_${i}`] = new ort.Tensor("float32", past[2 * i]!, [kvHeads, capacity, headDim]);
      feeds[`past_v_${i}`] = new ort.Tensor("float32", past[2 * i + 1]!, [kvHeads, capacity, headDim]);
    }
    const fetches = ["argmax", "hidden", "new_kv", ...(segment.logits ? ["logits"] : [])];
    return await this.#base.run(feeds, fetches);
  }
}
