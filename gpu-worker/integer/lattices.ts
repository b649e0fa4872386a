import { createLattice } from "../../shared/lattice.ts";
import type { HeadsOutput } from "../model.ts";
import { DRAFT_SESSIONS, type DraftLayout, type DraftShape } from "./layout.ts";

/** The draft heads' requests and results, in the shared memory. */
export class LatticeArrays {
  readonly #shape: DraftShape;
  readonly #draftIds: Int32Array;
  readonly #rows: Int32Array;
  readonly #bonus: Int32Array;
  readonly #best: Int32Array;
  readonly #logits: Float32Array;
  readonly #masses: Float32Array;
  /** null for heads that do not copy. */
  readonly #gates: Float32Array | null;

  /** @param draftIds token of each column */
  constructor(memory: ArrayBufferLike, layout: DraftLayout, shape: DraftShape, draftIds: Int32Array) {
    const states = DRAFT_SESSIONS * shape.heads;
    this.#shape = shape;
    this.#draftIds = draftIds;
    this.#rows = new Int32Array(memory, layout.rows, DRAFT_SESSIONS);
    this.#bonus = new Int32Array(memory, layout.bonus, DRAFT_SESSIONS);
    this.#best = new Int32Array(memory, layout.best, states * shape.topK);
    this.#logits = new Float32Array(memory, layout.logits, states * shape.topK);
    this.#masses = new Float32Array(memory, layout.masses, states);
    this.#gates = shape.gated ? new Float32Array(memory, layout.gates, states) : null;
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
    const gate = this.#gates === null ? null : this.#gates.slice(s * heads, (s + 1) * heads);
    return { lattice: createLattice(heads, topK, tokens, logProbs), gate };
  }
}
