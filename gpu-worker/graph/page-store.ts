import { PAGE_TOKENS, type Segment } from "../model.ts";

export interface PageShape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** Keys and values of all pages, in float32; a session's past is put together for each pass. */
export class PageStore {
  readonly pages: number;
  /** [pages] how often each was written. */
  readonly writes: Uint32Array;
  readonly #shape: PageShape;
  /** [layers][2] of [pages * PAGE_TOKENS, kvHeads, headDim]: keys, then values. */
  readonly #rows: readonly Float32Array[];

  /** Throws Error where `bytes` hold not one page. */
  constructor(shape: PageShape, bytes: number) {
    const { layers, kvHeads, headDim } = shape;
    const row = kvHeads * headDim;
    this.pages = Math.floor(bytes / (layers * 2 * PAGE_TOKENS * row * 4));
    if (this.pages < 1) throw new Error(`a cache of ${bytes} bytes holds no page`);
    this.writes = new Uint32Array(this.pages);
    this.#shape = shape;
    this.#rows = Array.from({ length: layers * 2 }, () => new Float32Array(this.pages * PAGE_TOKENS * row));
  }

  /** [layers][2] of [kvHeads, capacity, headDim]: the first `length` tokens of a session, zeros after them. */
  past({ pages, length }: Segment, capacity: number): Float32Array[] {
    const { kvHeads, headDim } = this.#shape;
    return this.#rows.map((rows) => {
      const out = new Float32Array(kvHeads * capacity * headDim);
      for (let token = 0; token < length; token++) {
        const from = slotOf(pages, token) * kvHeads * headDim;
        for (let head = 0; head < kvHeads; head++) {
          const at = from + head * headDim;
          out.set(rows.subarray(at, at + headDim), (head * capacity + token) * headDim);
        }
      }
      return out;
    });
  }

  /** Stores the rows of a pass, [layers, 2, kvHeads, rows, headDim], after the session's tokens. */
  put({ pages, length, tokens }: Segment, fresh: Float32Array): void {
    const { kvHeads, headDim } = this.#shape;
    const count = tokens.length;
    for (let at = length; at < length + count; at++) this.writes[pageOf(pages, at)]!++;
    for (const [part, rows] of this.#rows.entries()) {
      for (let head = 0; head < kvHeads; head++) {
        for (let row = 0; row < count; row++) {
          const from = ((part * kvHeads + head) * count + row) * headDim;
          const to = (slotOf(pages, length + row) * kvHeads + head) * headDim;
          rows.set(fresh.subarray(from, from + headDim), to);
        }
      }
    }
  }

  /** Moves a token's row to the place of another one of the same session. */
  move(pages: Int32Array, from: number, to: number): void {
    const row = this.#shape.kvHeads * this.#shape.headDim;
    const [source, target] = [slotOf(pages, from) * row, slotOf(pages, to) * row];
    this.writes[pageOf(pages, to)]!++;
    for (const rows of this.#rows) rows.copyWithin(target, source, source + row);
  }
}

function slotOf(pages: Int32Array, token: number): number {
  return pageOf(pages, token) * PAGE_TOKENS + (token % PAGE_TOKENS);
}

function pageOf(pages: Int32Array, token: number): number {
  return pages[Math.floor(token / PAGE_TOKENS)]!;
}
