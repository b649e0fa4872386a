import { createLattice } from "../../shared/lattice.ts";
import type { HeadsOutput } from "../model.ts";
import { DRAFT_SESSIONS, type DraftLayout, type DraftShape, hiddenRows } from "./layout.ts";
import type { IntegerWeights } from "./weights.ts";

/** The draft heads' requests and results, in the shared memory. */
export class LatticeArrays {
  readonly #shape: DraftShape;
  /** Token of each column. */
  readonly #draftIds: Int32Array;
  readonly #rows: Int32Array;
  readonly #bonus: Int32Array;
  readonly #best: Int32Array;
  readonly #logits: Float32Array;
  readonly #masses: Float32Array;
  /** [sessions, hiddenRows] */
  readonly #products: Float32Array;
  /** [2 rank], null where lattices have no query. */
  readonly #queryBias: Float32Array | null;

  /** Keeps of `weights` what is not in the shared memory. */
  constructor(memory: ArrayBufferLike, layout: DraftLayout, shape: DraftShape, weights: IntegerWeights) {
    const states = DRAFT_SESSIONS * shape.heads;
    this.#shape = shape;
    this.#draftIds = Int32Array.from(weights.int32("draft_ids", shape.vocabSize));
    this.#rows = new Int32Array(memory, layout.rows, DRAFT_SESSIONS);
    this.#bonus = new Int32Array(memory, layout.bonus, DRAFT_SESSIONS);
    this.#best = new Int32Array(memory, layout.best, states * shape.topK);
    this.#logits = new Float32Array(memory, layout.logits, states * shape.topK);
    this.#masses = new Float32Array(memory, layout.masses, states);
    this.#products = new Float32Array(memory, layout.hiddenProducts, DRAFT_SESSIONS * hiddenRows(shape));
    const { pairRank } = shape;
    this.#queryBias = pairRank === 0 ? null : Float32Array.from(weights.float32("query.bias", 2 * pairRank));
  }

  /** At most DRAFT_SESSIONS. */
  fill(requests: readonly { readonly row: number; readonly bonus: number }[]): void {
    for (const [i, { row, bonus }] of requests.entries()) {
      this.#rows[i] = row;
      this.#bonus[i] = bonus;
    }
  }

  /** What the members have left for session `s`. */
  read(s: number): HeadsOutput {
    const { heads, topK } = this.#shape;
    const cells = heads * topK;
    const tokens = Uint32Array.from(this.#best.subarray(s * cells, (s + 1) * cells), (at) => this.#draftIds[at]!);
    const logProbs = new Float32Array(cells);
    for (let j = 0; j < heads; j++) {
      const first = s * cells + j * topK;
      const shift = this.#logits[first]! + Math.log(this.#masses[s * heads + j]!);
      // Rounding may lift the log-probability of a near certainty above 0.
      for (let k = 0; k < topK; k++) logProbs[j * topK + k] = Math.min(0, this.#logits[first + k]! - shift);
    }
    return { lattice: createLattice(heads, topK, tokens, logProbs), ...this.#ofHiddenLayer(s) };
  }

  #ofHiddenLayer(s: number): Pick<HeadsOutput, "gate" | "query"> {
    const { heads, gated, pairRank } = this.#shape;
    const rows = hiddenRows(this.#shape);
    const products = this.#products.slice(s * rows, (s + 1) * rows);
    const own = products.subarray(rows - 2 * pairRank);
    const query = this.#queryBias?.map((bias, i) => bias + own[i]!) ?? null;
    return { gate: gated ? products.subarray(0, heads) : null, query };
  }
}
