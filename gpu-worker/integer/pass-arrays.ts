import { assert } from "../../shared/assert.ts";
import { PAGE_TOKENS, type Segment } from "../model.ts";
import { type IntegerShape, ITEM_INTS, ITEM_ROWS, type Layout, MAX_ROWS, TREE_ROWS } from "./layout.ts";

/** Lays out the arrays that describe a pass, in the shared memory. */
export class PassArrays {
  readonly #layout: Layout;
  readonly #shape: IntegerShape;
  readonly #tokens: Int32Array;
  readonly #positions: Int32Array;
  readonly #slots: Int32Array;
  readonly #wanted: Int32Array;
  readonly #items: Int32Array;
  readonly #itemStarts: Int32Array;
  readonly #masks: BigUint64Array;
  readonly #tables: Int32Array;

  constructor(memory: ArrayBufferLike, layout: Layout, shape: IntegerShape) {
    const { kvHeads, contextTokens, members } = shape;
    this.#layout = layout;
    this.#shape = shape;
    this.#tokens = new Int32Array(memory, layout.tokens, MAX_ROWS);
    this.#positions = new Int32Array(memory, layout.positions, MAX_ROWS);
    this.#slots = new Int32Array(memory, layout.slots, MAX_ROWS);
    this.#wanted = new Int32Array(memory, layout.wanted, MAX_ROWS);
    this.#items = new Int32Array(memory, layout.items, MAX_ROWS * kvHeads * ITEM_INTS);
    this.#itemStarts = new Int32Array(memory, layout.itemStarts, members + 1);
    this.#masks = new BigUint64Array(memory, layout.masks, 2 * MAX_ROWS);
    this.#tables = new Int32Array(memory, layout.tables, MAX_ROWS + (MAX_ROWS * contextTokens) / PAGE_TOKENS);
  }

  /** Returns the numbers of rows and wanted rows, and of each wanted row whether its logits are. */
  fill(segments: readonly Segment[]): { rows: number; wanted: number; logits: boolean[] } {
    let rows = 0;
    let tables = 0;
    let items = 0;
    const logits: boolean[] = [];
    for (const segment of segments) {
      const { pages, length, tokens, parents } = segment;
      assert(rows + tokens.length <= MAX_ROWS, "a pass has room for its rows");
      assert(pages.length * PAGE_TOKENS >= length + tokens.length, "a session has pages for its rows");
      this.#tables.set(pages, tables);
      const depth = new Uint16Array(tokens.length);
      for (let i = 0; i < tokens.length; i++) {
        depth[i] = parents === null ? i : parents[i]! < 0 ? 0 : depth[parents[i]!]! + 1;
        const at = length + i;
        this.#tokens[rows + i] = tokens[i]!;
        this.#positions[rows + i] = length + depth[i]!;
        this.#slots[rows + i] = pages[Math.floor(at / PAGE_TOKENS)]! * PAGE_TOKENS + (at % PAGE_TOKENS);
      }
      items = this.#addItems(segment, depth, rows, tables, items);
      const first = segment.wanted === "all" ? 0 : segment.wanted === "last" ? tokens.length - 1 : tokens.length;
      for (let i = first; i < tokens.length; i++) {
        this.#wanted[logits.length] = rows + i;
        logits.push(segment.logits);
      }
      rows += tokens.length;
      tables += pages.length;
    }
    this.#share(items);
    return { rows, wanted: logits.length, logits };
  }

  /** One item for each run of rows and key/value head. */
  #addItems(
    { length, tokens, parents }: Segment,
    depth: Uint16Array,
    firstRow: number,
    tables: number,
    items: number,
  ): number {
    const { kvHeads, traits } = this.#shape;
    assert(parents === null || tokens.length <= TREE_ROWS, "a tree's rows fit a mask");
    for (let from = 0; from < tokens.length; from += ITEM_ROWS) {
      const count = Math.min(ITEM_ROWS, tokens.length - from);
      // In a chain all rows before this run are seen by all of it.
      const visible = parents === null ? length + from : length;
      for (let i = from; i < from + count; i++) {
        const own = 1n << BigInt(length + i - visible);
        const parent = parents === null ? i - 1 : parents[i]!;
        const before =
          parents === null
            ? i > from
              ? this.#masks[firstRow + i - 1]!
              : 0n
            : parent < 0
              ? 0n
              : this.#masks[firstRow + parent]!;
        this.#masks[firstRow + i] = before | own;
        // Of a chain the slots are positions, so its window needs no mask.
        if (traits.window === null || parents === null) this.#masks[MAX_ROWS + firstRow + i] = before | own;
        else this.#masks[MAX_ROWS + firstRow + i] = nearest(parents, i, Math.min(traits.window, depth[i]! + 1));
      }
      const table = this.#layout.tables + tables * 4;
      const masks = this.#layout.masks + (firstRow + from) * 8;
      for (let head = 0; head < kvHeads; head++) {
        this.#items.set(
          [firstRow + from, count, head, visible, length + from + count, table, masks, firstRow + visible - length],
          items * ITEM_INTS,
        );
        items++;
      }
    }
    return items;
  }

  /** Cuts the items into shares of about equal work. */
  #share(items: number): void {
    const { members } = this.#shape;
    const work = (i: number) => this.#items[i * ITEM_INTS + 1]! * this.#items[i * ITEM_INTS + 4]!;
    let left = 0;
    for (let i = 0; i < items; i++) left += work(i);
    let at = 0;
    for (let member = 0; member < members; member++) {
      this.#itemStarts[member] = at;
      const share = left / (members - member);
      let taken = 0;
      while (at < items && taken + work(at) / 2 < share) taken += work(at++);
      left -= taken;
    }
    this.#itemStarts[members] = items;
  }
}

/** Bits of a tree's row and of those before it on its path, `count` in all. */
function nearest(parents: Int16Array, row: number, count: number): bigint {
  let mask = 0n;
  for (let at = row, left = count; left > 0; at = parents[at]!, left--) mask |= 1n << BigInt(at);
  return mask;
}
