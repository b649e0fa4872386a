import ort from "onnxruntime-node";
import { assert } from "../../shared/assert.ts";
import type { BundleShape } from "../bundle.ts";
import { type Forward, type HeadsOutput, type Model, PAGE_TOKENS, type Segment } from "../model.ts";
import { type HeadsGraph, loadHeads } from "../onnx/heads.ts";
import { float32, int32, loadGraph, type OnnxOptions } from "../onnx/session.ts";
import { InputBuilder } from "./inputs.ts";
import { PageStore } from "./page-store.ts";
import { type Past, Pasts } from "./pasts.ts";

/** Rows of one pass. */
const MAX_ROWS = 512;
/** Columns of the past are a multiple of this, so that few shapes occur. */
const COLUMNS = 64;

export interface GraphOptions extends OnnxOptions {
  readonly shape: BundleShape;
  readonly basePath: string;
  readonly headsPath: string | null;
  /** null: pasts are handed over anew each time, as is best where the model runs in this memory. */
  readonly pastPath: string | null;
  /** Bytes for the cache. */
  readonly kvBytes: number;
}

/**
 * A model that is one graph, on any provider of onnxruntime. The sessions of a pass run one after the other: right everywhere,
 * and fast for few streams at most.
 */
export class GraphModel implements Model {
  readonly shape: BundleShape;
  readonly maxRows = MAX_ROWS;
  readonly #store: PageStore;
  readonly #base: ort.InferenceSession;
  readonly #heads: HeadsGraph | null;
  readonly #pasts: Pasts | null;
  readonly #inputs = new InputBuilder();
  /** [hiddenWidth] of each wanted row of the last pass. */
  #hidden: Float32Array[] = [];

  private constructor(
    shape: BundleShape,
    store: PageStore,
    base: ort.InferenceSession,
    heads: HeadsGraph | null,
    pasts: Pasts | null,
  ) {
    this.shape = shape;
    this.#store = store;
    this.#base = base;
    this.#heads = heads;
    this.#pasts = pasts;
  }

  /** Throws Error where the provider cannot start or a graph lacks what is needed of it. */
  static async load(options: GraphOptions): Promise<GraphModel> {
    const past = Array.from({ length: options.shape.layers }, (_, i) => [`past_k_${i}`, `past_v_${i}`]).flat();
    const base = await loadGraph(options.basePath, options, {
      inputs: ["tokens", "positions", "rows", "bias", ...past],
      outputs: ["argmax", "logits", "hidden", "new_kv"],
    });
    const heads = await loadHeads(options.headsPath, options.shape, options);
    const { pastPath, shape } = options;
    const store = new PageStore(shape, options.kvBytes);
    const columns = store.pages * PAGE_TOKENS;
    const pasts = pastPath === null ? null : await Pasts.load(pastPath, shape.layers, columns, options);
    return new GraphModel(shape, store, base, heads, pasts);
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

  keep(segment: Segment, rows: readonly number[]): void {
    const { pages, length } = segment;
    for (const [i, row] of rows.entries()) if (row !== i) this.#store.move(pages, length + row, length + i);
    this.#pasts?.keep(segment, rows, this.#store.writes);
  }

  async release(): Promise<void> {
    await this.#base.release();
    await this.#heads?.release();
    await this.#pasts?.release();
  }

  async #run(segment: Segment): Promise<ort.InferenceSession.OnnxValueMapType> {
    const capacity = Math.max(1, Math.ceil(segment.length / COLUMNS)) * COLUMNS;
    const { count, tokens, positions, rows, bias } = this.#inputs.rows(segment, capacity);
    const feeds: Record<string, ort.Tensor> = {
      tokens: new ort.Tensor("int32", tokens, [count]),
      positions: new ort.Tensor("int32", positions, [count]),
      rows: new ort.Tensor("int32", rows, [rows.length]),
      bias: new ort.Tensor("float32", bias, [count, capacity + count]),
    };
    const past = (await this.#pasts?.take(segment, capacity, this.#store.writes)) ?? this.#stored(segment, capacity);
    const fetches = ["argmax", "hidden", "new_kv", ...(segment.logits ? ["logits"] : [])];
    const outputs = await this.#base.run({ ...feeds, ...past }, fetches);
    this.#store.put(segment, float32(outputs, "new_kv", -1));
    this.#pasts?.put(segment, past, capacity, outputs.new_kv!, this.#store.writes);
    return outputs;
  }

  /** The past as the pages have it. */
  #stored(segment: Segment, capacity: number): Past {
    const { kvHeads, headDim } = this.shape;
    const tensors = this.#store.past(segment, capacity).map((values, i) => {
      const name = `past_${i % 2 === 0 ? "k" : "v"}_${Math.floor(i / 2)}`;
      return [name, new ort.Tensor("float32", values, [kvHeads, capacity, headDim])] as const;
    });
    return Object.fromEntries(tensors);
  }
}
