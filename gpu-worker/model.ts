import type { TokenId } from "../shared/ids.ts";
import type { Lattice } from "../shared/lattice.ts";
import type { CopyHeads } from "../shared/manifest.ts";

/** Tokens of one page of the cache. */
export const PAGE_TOKENS = 16;

export interface ModelShape {
  readonly vocabSize: number;
  readonly contextTokens: number;
  /** Rows (heads 2..H) and columns of a lattice. */
  readonly latticeHeads: number;
  readonly topK: number;
  /** null for heads that do not copy. */
  readonly copyHeads: CopyHeads | null;
}

/** Rows of one session in a pass: tokens that follow the `length` ones it has in the cache. */
export interface Segment {
  readonly length: number;
  /** Page table: pages of the cache that hold tokens [0, length + tokens.length), in order. */
  readonly pages: Int32Array;
  /** [n] */
  readonly tokens: Uint32Array;
  /** [n] of a draft tree: the row before each, -1 for the first; null for a chain. At most 64 rows in a tree. */
  readonly parents: Int16Array | null;
  /** Rows whose next token is wanted. */
  readonly wanted: "none" | "last" | "all";
  /** Whether the wanted rows' logits are, too. */
  readonly logits: boolean;
}

/** Wanted rows are numbered through all segments, in order. Valid until the next pass. */
export interface Forward {
  /** [wanted rows] lowest id on a tie. */
  readonly argmax: Int32Array;
  /** [vocab] of a wanted row whose segment asked for logits. */
  logits(row: number): Float32Array;
}

export interface HeadsOutput {
  /** Of the vocabulary part alone, without its query. */
  readonly lattice: Lattice;
  /** [heads] how much each head would copy, before the sigmoid (copy-heads.ts); null for heads that do not copy. */
  readonly gate: Float32Array | null;
  /** [2 rank] m, then q, of Lattice.query before it is quantised; null for heads without pair scores. */
  readonly query: Float32Array | null;
}

/**
 * Base model, draft heads and the cache. A row's results depend on its session's tokens alone: not on the other rows
 * of its pass, on how its text was cut into passes, or on where its pages lie. One call at a time.
 */
export interface Model {
  readonly shape: ModelShape;
  /** Pages of the cache. */
  readonly pages: number;
  /** Rows of one pass. */
  readonly maxRows: number;
  forward(segments: readonly Segment[]): Promise<Forward>;
  /** Lattices after wanted rows of the last pass and the bonus tokens chosen there. */
  heads(requests: readonly { readonly row: number; readonly bonus: TokenId }[]): Promise<HeadsOutput[]>;
  /**
   * Keeps of a segment's rows those given, rising, and forgets the others: they become the tokens after `length`.
   * A chain that is kept whole needs no call.
   */
  keep(segment: Segment, rows: readonly number[]): void;
  release(): Promise<void>;
}
