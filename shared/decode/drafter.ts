import { CERTAIN, type DraftTree, EMPTY_TREE } from "../draft-tree.ts";
import type { StepResult } from "../engine.ts";
import { narrowLattice } from "../lattice.ts";
import type { Rescorer } from "../rescore/rescorer.ts";
import { AcceptanceEstimate } from "./acceptance.ts";
import { type DecodeLimits, type DecodeState, draftDepth } from "./advance.ts";

export interface DraftSize {
  /** Upper bound of drafted nodes per step; 0 drafts nothing. */
  readonly maxNodes: number;
  /** true: at most `maxNodes`, of which the engine verifies those that pay; false: all of `maxNodes`. */
  readonly autoNodes: boolean;
}

/** Least chance of a node that is drafted before the engine has said what pays. */
const FIRST_FLOOR = 0.05;
/** What pays changes from step to step: nodes a little less likely are drafted, too. */
const MARGIN = 0.7;

/** Turns each result's lattice into the next draft: of a fixed number of nodes, or of those that may pay. */
export class Drafter {
  readonly #rescorer: Rescorer;
  readonly #limits: DecodeLimits;
  readonly #size: DraftSize;
  /** null: the draft's size is fixed, or the rescorer knows its nodes' chances. */
  readonly #acceptance: AcceptanceEstimate | null;
  #floor = FIRST_FLOOR;

  /** `heads`: lattice rows of a step. */
  constructor(rescorer: Rescorer, limits: DecodeLimits, size: DraftSize, heads: number) {
    this.#rescorer = rescorer;
    this.#limits = limits;
    this.#size = size;
    const estimated = size.autoNodes && rescorer.calibrated !== true;
    this.#acceptance = estimated ? new AcceptanceEstimate(size.maxNodes, heads) : null;
  }

  next(state: DecodeState, result: StepResult): DraftTree {
    const { maxNodes, autoNodes } = this.#size;
    // Tokens beyond the limit would be thrown away, and their positions may not exist.
    const depth = draftDepth(state, this.#limits);
    const lattice = narrowLattice(result.lattice, depth, result.lattice.k);
    if (maxNodes === 0 || depth === 0) return EMPTY_TREE;
    if (this.#acceptance !== null) {
      const nodes = this.#acceptance.nodes(this.#floor);
      if (nodes === 0) return EMPTY_TREE;
      return this.#acceptance.estimate(this.#rescorer.draft(lattice, nodes, { depth, floor: 0 }));
    }
    return this.#rescorer.draft(lattice, maxNodes, { depth, floor: autoNodes ? this.#floor : 0 });
  }

  observe(draft: DraftTree, { accepted, threshold }: StepResult): void {
    this.#floor = (MARGIN * threshold) / CERTAIN;
    this.#acceptance?.observe(draft, accepted, threshold);
  }
}
