import { CERTAIN, type DraftTree, EMPTY_TREE, treeOf } from "../draft-tree.ts";
import type { StepResult } from "../engine.ts";
import { type NodeIndex, ROOT } from "../ids.ts";
import { type Lattice, laterRows, narrowLattice } from "../lattice.ts";
import type { Rescorer } from "../rescore/rescorer.ts";
import { AcceptanceEstimate } from "./acceptance.ts";
import { type DecodeState, draftDepth } from "./advance.ts";
import type { Guide } from "./guide.ts";
import type { DecodeLimits, DraftSize } from "./run-request.ts";

/** Least chance of a node that is drafted before the engine has said what pays. */
const FIRST_FLOOR = 0.05;
/** What pays changes from step to step: nodes a little less likely are drafted, too. */
const MARGIN = 0.7;

/** Turns each result's lattice into the next draft: of a fixed number of nodes, or of those that may pay. */
export class Drafter {
  readonly #rescorer: Rescorer;
  readonly #limits: DecodeLimits;
  readonly #size: DraftSize;
  /** null: no grammar is heeded. */
  readonly #guide: Guide | null;
  /** null: the draft's size is fixed, or the rescorer knows its nodes' chances. */
  readonly #acceptance: AcceptanceEstimate | null;
  #floor = FIRST_FLOOR;
  /** [nodes of the last draft] their places in the rescorer's tree; null where that is the draft. */
  #origins: readonly number[] | null = null;

  /** `heads`: lattice rows of a step. */
  constructor(rescorer: Rescorer, limits: DecodeLimits, size: DraftSize, heads: number, guide: Guide | null = null) {
    this.#rescorer = rescorer;
    this.#limits = limits;
    this.#size = size;
    this.#guide = guide;
    const estimated = size.autoNodes && rescorer.calibrated !== true;
    this.#acceptance = estimated ? new AcceptanceEstimate(size.maxNodes, heads) : null;
  }

  next(state: DecodeState, result: StepResult): DraftTree {
    const { maxNodes, autoNodes } = this.#size;
    // Tokens beyond the limit would be thrown away, and their positions may not exist.
    const depth = draftDepth(state, this.#limits);
    const lattice = narrowLattice(result.lattice, depth, result.lattice.k);
    if (maxNodes === 0 || depth === 0) return EMPTY_TREE;
    if (this.#guide === null) return this.#draft(lattice, maxNodes, depth);
    const scope = { maxNodes, depth, floor: autoNodes ? this.#floor : 0 };
    const lead = this.#guide.lead(scope);
    this.#rescorer.commit(lead.untold);
    const led = lead.tokens.length;
    const tree = this.#draft(laterRows(lattice, led), maxNodes - led, depth - led);
    const { draft, origins } = this.#guide.complete(lead.tokens, tree, scope);
    this.#origins = origins;
    return draft;
  }

  observe(draft: DraftTree, { accepted, threshold }: StepResult): void {
    this.#floor = (MARGIN * threshold) / CERTAIN;
    if (this.#acceptance === null) return;
    const { draft: tree, accepted: nodes } =
      this.#origins === null ? { draft, accepted } : original(draft, accepted, this.#origins);
    this.#acceptance.observe(tree, nodes, threshold);
  }

  #draft(lattice: Lattice, maxNodes: number, depth: number): DraftTree {
    if (maxNodes === 0 || depth === 0) return EMPTY_TREE;
    if (this.#acceptance !== null) {
      const nodes = Math.min(maxNodes, this.#acceptance.nodes(this.#floor));
      if (nodes === 0) return EMPTY_TREE;
      return this.#acceptance.estimate(this.#rescorer.draft(lattice, nodes, { depth, floor: 0 }));
    }
    return this.#rescorer.draft(lattice, maxNodes, { depth, floor: this.#size.autoNodes ? this.#floor : 0 });
  }
}

/** What became of the nodes of the rescorer's tree that were drafted, by their numbers in it; the others were not verified. */
function original(draft: DraftTree, accepted: readonly NodeIndex[], origins: readonly number[]) {
  const chances = new Uint8Array(Math.max(0, ...origins.map((origin) => origin + 1)));
  for (const [node, origin] of origins.entries()) if (origin >= 0) chances[origin] = draft.chances[node]!;
  const tree = treeOf(new Uint32Array(chances.length), new Int16Array(chances.length).fill(ROOT), chances);
  return { draft: tree, accepted: accepted.flatMap((node) => (origins[node]! >= 0 ? [origins[node]!] : [])) };
}
