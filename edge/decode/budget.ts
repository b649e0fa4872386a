import type { NodeIndex } from "../../shared/ids.ts";

/** [rows verified in one pass, ms], rising in rows; rows = drafted nodes + the root. */
export type CostCurve = readonly (readonly [rows: number, ms: number])[];

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
/** Steps over which the overhead is averaged. */
const OVERHEAD_STEPS = 20;
/** Every so many steps a larger draft than the best is tried, so that a bad stretch can end. */
const PROBE_EVERY = 24;

/**
 * Chooses how many nodes to draft: the n with the most expected tokens per millisecond,
 *
 *   (1 + sum over i < n of P(node i accepted)) / (c(n + 1) + overhead)
 *
 * where c is the engine's measured cost curve and P comes from this request's own steps. Rescorers
 * order nodes by path and the best path comes first, so node i means much the same in a small draft
 * and in a large one. n = 0 is a plain step. Deterministic: the same calls give the same choices.
 */
export class DraftBudget {
  readonly #firstPath: number;
  readonly #accepted: Float64Array;
  readonly #seen: Float64Array;
  readonly #costs: Float64Array;
  #overheadMs = 0;
  #observed = 0;
  #chosenSinceProbe = 0;

  /** `firstPath`: nodes of the best path, normally the number of heads. */
  constructor(curve: CostCurve, maxNodes: number, firstPath: number) {
    this.#costs = Float64Array.from({ length: maxNodes + 1 }, (_, nodes) => costMs(curve, nodes + 1));
    this.#firstPath = firstPath;
    this.#accepted = new Float64Array(maxNodes);
    this.#seen = new Float64Array(maxNodes);
  }

  /** Nodes to draft next, 0..maxNodes. */
  choose(): number {
    const maxNodes = this.#seen.length;
    let best = 0;
    let bestRate = 1 / this.#stepMs(0);
    let expected = 1;
    let previous = 1;
    for (let i = 0; i < maxNodes; i++) {
      const p = this.#acceptance(i, previous);
      previous = p;
      expected += p;
      const rate = expected / this.#stepMs(i + 1);
      // On a flat curve more nodes cost nothing measurable, so a tie goes to the larger draft.
      if (rate >= bestRate) {
        bestRate = rate;
        best = i + 1;
      }
    }
    if (best < maxNodes && ++this.#chosenSinceProbe >= PROBE_EVERY) {
      this.#chosenSinceProbe = 0;
      return Math.min(maxNodes, Math.max(2, best * 2));
    }
    return best;
  }

  /** [maxNodes + 1] expected time of a step that drafts i nodes, ms: for a rescorer that knows its nodes' probabilities. */
  stepTimes(): Float64Array {
    return this.#costs.map((ms) => ms + this.#overheadMs);
  }

  /**
   * What became of a step: how many nodes were drafted, which were accepted, and how long the step took
   * beyond waiting for the model and running it, ms.
   */
  observe(drafted: number, accepted: readonly NodeIndex[], overheadMs: number): void {
    for (let i = 0; i < drafted && i < this.#seen.length; i++) {
      this.#seen[i] = this.#seen[i]! * KEEP + 1;
      this.#accepted[i] = this.#accepted[i]! * KEEP + (accepted.includes(i) ? 1 : 0);
    }
    this.#observed++;
    this.#overheadMs += (Math.max(0, overheadMs) - this.#overheadMs) / Math.min(this.#observed, OVERHEAD_STEPS);
  }

  #acceptance(node: number, previous: number): number {
    const prior = node === 0 ? FIRST_NODE : node < this.#firstPath ? previous * NEXT_NODE : BRANCH_NODE;
    return (this.#accepted[node]! + PRIOR_WEIGHT * prior) / (this.#seen[node]! + PRIOR_WEIGHT);
  }

  #stepMs(nodes: number): number {
    return this.#costs[nodes]! + this.#overheadMs;
  }
}

/** c(rows), ms: linear between the measured points and beyond the last two; 1 without a curve. */
export function costMs(curve: CostCurve, rows: number): number {
  const last = curve.at(-1);
  if (last === undefined) return 1;
  let [lowRows, lowMs] = curve[0]!;
  if (rows <= lowRows) return lowMs;
  for (const [highRows, highMs] of curve.slice(1)) {
    if (rows <= highRows || highRows === last[0]) {
      return lowMs + ((highMs - lowMs) * (rows - lowRows)) / (highRows - lowRows);
    }
    [lowRows, lowMs] = [highRows, highMs];
  }
  return lowMs;
}
