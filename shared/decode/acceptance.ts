import { CERTAIN, chanceOf, type DraftTree, treeOf } from "../draft-tree.ts";
import { type NodeIndex, ROOT } from "../ids.ts";

/** Acceptance of the first drafted node before anything was observed. */
const FIRST_NODE = 0.5;
/** Acceptance of a node of the first path relative to the node before it. */
const NEXT_NODE = 0.6;
/** Acceptance of a node of the second and later paths. */
const BRANCH_NODE = 0.03;
/** How many observations the prior counts for. */
const PRIOR_WEIGHT = 3;
/** Share of the evidence kept per step: a memory of about twenty steps. */
const KEEP = 0.95;
/** Every so many steps a larger draft insists on being verified, so that a bad stretch can end. */
const PROBE_EVERY = 24;

/**
 * How likely the nodes of a rescorer are that does not know it itself: P(node i accepted) from this request's own
 * steps. Rescorers order nodes by path and the best path comes first, so node i means much the same in a small draft
 * and in a large one. Deterministic: the same calls give the same chances.
 */
export class AcceptanceEstimate {
  readonly #firstPath: number;
  readonly #accepted: Float64Array;
  readonly #seen: Float64Array;
  #sinceProbe = 0;
  #probing = false;

  /** `firstPath`: nodes of the best path, normally the number of heads. */
  constructor(maxNodes: number, firstPath: number) {
    this.#firstPath = firstPath;
    this.#accepted = new Float64Array(maxNodes);
    this.#seen = new Float64Array(maxNodes);
  }

  /** Nodes worth drafting next: those up to the last one as likely as `floor`, 0..1. */
  nodes(floor: number): number {
    const { length } = this.#seen;
    let count = 0;
    let previous = 1;
    for (let i = 0; i < length; i++) {
      previous = this.#acceptance(i, previous);
      if (previous >= floor) count = i + 1;
    }
    this.#probing = count < length && ++this.#sinceProbe >= PROBE_EVERY;
    if (!this.#probing) return count;
    this.#sinceProbe = 0;
    return Math.min(length, Math.max(2, count * 2));
  }

  /** The draft with its nodes' chances. */
  estimate({ tokens, parents, sources }: DraftTree): DraftTree {
    const chances = new Uint8Array(tokens.length);
    let previous = 1;
    for (let i = 0; i < chances.length; i++) {
      previous = this.#acceptance(i, previous);
      const most = parents[i] === ROOT ? CERTAIN : chances[parents[i]!]!;
      chances[i] = this.#probing ? CERTAIN : Math.min(most, chanceOf(previous));
    }
    return treeOf(tokens, parents, chances, sources);
  }

  /** What became of a draft: which nodes were accepted, of those whose chance was at least `threshold`. */
  observe(draft: DraftTree, accepted: readonly NodeIndex[], threshold: number): void {
    for (let i = 0; i < draft.tokens.length && i < this.#seen.length; i++) {
      if (draft.chances[i]! < threshold) continue;
      this.#seen[i] = this.#seen[i]! * KEEP + 1;
      this.#accepted[i] = this.#accepted[i]! * KEEP + (accepted.includes(i) ? 1 : 0);
    }
  }

  #acceptance(node: number, previous: number): number {
    const prior = node === 0 ? FIRST_NODE : node < this.#firstPath ? previous * NEXT_NODE : BRANCH_NODE;
    return (this.#accepted[node]! + PRIOR_WEIGHT * prior) / (this.#seen[node]! + PRIOR_WEIGHT);
  }
}
