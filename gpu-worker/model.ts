import type { TokenId } from "../shared/ids.ts";
import type { Lattice } from "../shared/lattice.ts";
import type { CopyHeads } from "../shared/manifest.ts";
import type { ForwardInputs } from "./inputs.ts";
import type { KvBuffers, KvShape } from "./kv-cache.ts";

export interface ModelShape extends KvShape {
  readonly vocabSize: number;
  readonly hiddenWidth: number;
  readonly contextTokens: number;
  /** Rows (heads 2..H) and columns of a lattice. */
  readonly latticeHeads: number;
  readonly topK: number;
  /** null for heads that do not copy. */
  readonly copyHeads: CopyHeads | null;
}

/** R is the number of wanted rows, M of all rows. */
export interface Forward {
  /** [R], lowest id on a tie. */
  readonly argmax: Int32Array;
  /** [R, vocab], where asked for. */
  readonly logits: Float32Array | null;
  /** [R, hiddenWidth], where asked for. */
  readonly hidden: Float32Array | null;
  /** [layers, 2, kvHeads, M, headDim] */
  readonly newKv: Float32Array;
}

export interface HeadsOutput {
  /** Of the vocabulary part alone. */
  readonly lattice: Lattice;
  /** [heads] how much each head would copy, before the sigmoid (copy-heads.ts); null for heads that do not copy. */
  readonly gate: Float32Array | null;
}

export interface Wanted {
  readonly logits: boolean;
  readonly hidden: boolean;
}

/** The two graphs of a bundle. One call at a time. */
export interface Model {
  readonly shape: ModelShape;
  forward(inputs: ForwardInputs, past: KvBuffers, wanted: Wanted): Promise<Forward>;
  /** @param hidden [hiddenWidth] of the last accepted row */
  heads(hidden: Float32Array, bonus: TokenId): Promise<HeadsOutput>;
  release(): Promise<void>;
}
