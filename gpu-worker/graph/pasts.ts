import ort from "onnxruntime-node";
import { PAGE_TOKENS, type Segment } from "../model.ts";
import { loadGraph, type OnnxOptions } from "../onnx/session.ts";

/** Keys and values of a session's past as inputs of the base graph: past_k_i, past_v_i by name. */
export type Past = Readonly<Record<string, ort.Tensor>>;

/** How often each page of the cache has been written. */
export type Writes = Readonly<Uint32Array>;

interface Kept {
  readonly pages: Int32Array;
  /** Tokens before the pass, and what they were handed over as. */
  readonly length: number;
  readonly past: Past;
  readonly capacity: number;
  /** [layers, 2, kvHeads, rows, headDim] of the pass. */
  readonly fresh: ort.Tensor;
  /** Rows of the pass that are tokens by now, in order. */
  rows: readonly number[];
  /** Writes of the pages when these were all: a page written since holds something else. */
  writes: readonly number[];
}

/**
 * Pasts that stay where the model runs, so that a pass sends its new rows alone. The host's pages remain the truth: a past is taken only
 * where none of its pages was written by anything else, and else it is put together from them.
 */
export class Pasts {
  readonly #session: ort.InferenceSession;
  readonly #mostColumns: number;
  /** Those used last at the end. */
  #kept: Kept[] = [];

  private constructor(session: ort.InferenceSession, mostColumns: number) {
    this.#session = session;
    this.#mostColumns = mostColumns;
  }

  /**
   * Outputs stay in the GPU's memory where the provider can leave them there; those of the sessions used last are kept, `mostColumns`
   * together. Throws Error where the graph cannot be loaded.
   */
  static async load(path: string, layers: number, mostColumns: number, options: OnnxOptions): Promise<Pasts> {
    const names = Array.from({ length: layers }, (_, i) => [`k_${i}`, `v_${i}`]).flat();
    const onDevice = options.provider === "webgpu" ? names.map((name) => [`next_${name}`, "gpu-buffer"] as const) : [];
    const inputs = ["fresh", "order", ...names.map((name) => `past_${name}`)];
    const outputs = names.map((name) => `next_${name}`);
    return new Pasts(await loadGraph(path, options, { inputs, outputs }, Object.fromEntries(onDevice)), mostColumns);
  }

  /** The past of a segment in `capacity` columns; null: it is not here, or no longer true. The caller hands it back by `put`. */
  async take({ pages, length }: Segment, capacity: number, writes: Writes): Promise<Past | null> {
    if (length === 0) return null;
    const found = this.#kept.findLast((kept) => holds(kept, pages, length, writes));
    if (found === undefined) return null;
    this.#kept = this.#kept.filter((kept) => kept !== found);
    const order = new Int32Array(capacity);
    for (let i = 0; i < length; i++) {
      order[i] = i < found.length ? i : found.capacity + found.rows[i - found.length]!;
    }
    const feeds = { ...found.past, fresh: found.fresh, order: new ort.Tensor("int32", order, [capacity]) };
    const outputs = await this.#session.run(feeds);
    drop(found);
    return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name.replace("next", "past"), tensor]));
  }

  /** Keeps what a pass over `segment` was given and made, all its rows; its pages have been written. */
  put({ pages, length, tokens }: Segment, past: Past, capacity: number, fresh: ort.Tensor, writes: Writes): void {
    const rows = Array.from(tokens, (_, row) => row);
    const kept = { pages: pages.slice(), length, past, capacity, fresh, rows, writes: [] };
    this.#kept.push(this.#stamped(kept, writes));
    let columns = this.#kept.reduce((sum, { capacity }) => sum + capacity, 0);
    while (columns > this.#mostColumns) {
      const oldest = this.#kept.shift()!;
      columns -= oldest.capacity;
      drop(oldest);
    }
  }

  /** Of the last pass over `segment` only these rows are tokens; they have been moved. */
  keep({ pages, length }: Segment, rows: readonly number[], writes: Writes): void {
    const found = this.#kept.findLast((kept) => kept.length === length && startsWith(kept.pages, pages, pages.length));
    if (found === undefined) return;
    found.rows = rows;
    this.#stamped(found, writes);
  }

  async release(): Promise<void> {
    for (const kept of this.#kept.splice(0)) drop(kept);
    await this.#session.release();
  }

  #stamped(kept: Kept, writes: Writes): Kept {
    kept.writes = Array.from(kept.pages, (page) => writes[page]!);
    return kept;
  }
}

/** Whether the first `length` tokens on `pages` are of what was kept. */
function holds(kept: Kept, pages: Int32Array, length: number, writes: Writes): boolean {
  const count = Math.ceil(length / PAGE_TOKENS);
  if (length > kept.length + kept.rows.length || !startsWith(kept.pages, pages, count)) return false;
  return kept.writes.slice(0, count).every((stamp, i) => stamp === writes[pages[i]!]);
}

function startsWith(known: Int32Array, pages: Int32Array, count: number): boolean {
  if (known.length < count || pages.length < count) return false;
  for (let i = 0; i < count; i++) if (known[i] !== pages[i]) return false;
  return true;
}

function drop({ past }: Kept): void {
  for (const tensor of Object.values(past)) tensor.dispose();
}
