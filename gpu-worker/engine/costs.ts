import type { PassCosts } from "../../shared/engine.ts";

/** What a pass consisted of. */
export interface PassWork {
  readonly rows: number;
  /** Rows whose next token was wanted. */
  readonly wanted: number;
  /** Sum over rows of the tokens each looked at, in thousands (1024). */
  readonly context: number;
  /** Lattices made. */
  readonly heads: number;
}

/** Predicted time, ms. */
export function passMs(costs: PassCosts, work: PassWork): number {
  return (
    costs.pass +
    costs.row * work.rows +
    costs.wanted * work.wanted +
    costs.context * work.context +
    costs.heads * work.heads
  );
}

/** Passes that a new observation counts against: some seconds of serving. */
const MEMORY = 400;
/** A pass that takes longer than this many times its prediction is likely somebody else's doing, and counts less. */
const SLOW = 1.3;
/** Nor does it count as longer than this many times. */
const SLOWEST = 3;
/** Passes that only tell how fast this machine is beside the one that the start was measured on. */
const WARM_UP = 12;
/** What the start is worth, in passes: directions in which live passes say nothing keep to it. */
const PRIOR = 8;

type Vector = readonly [number, number, number, number, number];
const SIZE = 5;

/**
 * The cost model, learned from the passes as they happen: recursive least squares with forgetting (Plackett 1950) on
 * relative errors, from a start that ships with the bundle. Passes that are slower than foreseen weigh less the slower
 * they were, so that a machine that is busy now and then does not pass for one on which rows are expensive.
 */
export class CostModel {
  /** Start, scaled to this machine. */
  #prior: Vector;
  #weights: number[];
  /** [SIZE, SIZE] inverse of the weighted squares. */
  #spread: number[];
  #seen = 0;
  readonly #ratios: number[] = [];

  constructor(start: PassCosts) {
    this.#prior = vectorOf(start);
    this.#weights = [1, 1, 1, 1, 1];
    this.#spread = identity(1 / PRIOR);
  }

  /** Never negative; every pass costs something. */
  get costs(): PassCosts {
    const [pass, row, wanted, context, heads] = this.#weights.map((w, i) => Math.max(0, w) * this.#prior[i]!);
    return { pass: Math.max(pass!, this.#prior[0] / 20), row: row!, wanted: wanted!, context: context!, heads: heads! };
  }

  observe(work: PassWork, ms: number): void {
    if (!(ms > 0)) return;
    this.#seen++;
    if (this.#seen <= WARM_UP) {
      this.#ratios.push(ms / passMs(vectorCosts(this.#prior), work));
      if (this.#seen < WARM_UP) return;
      const speed = this.#ratios.toSorted((a, b) => a - b)[this.#ratios.length >> 1]!;
      this.#prior = this.#prior.map((value) => value * speed) as unknown as Vector;
      return;
    }
    this.#learn(work, ms);
  }

  /** One step of recursive least squares: weights of the prior's parts, errors relative to the prediction. */
  #learn({ rows, wanted, context, heads }: PassWork, ms: number): void {
    const predicted = passMs(this.costs, { rows, wanted, context, heads });
    const ratio = Math.min(ms / predicted, SLOWEST);
    const weight = Math.min(1, (SLOW / ratio) ** 3);
    const parts = [1, rows, wanted, context, heads].map((amount, i) => (amount * this.#prior[i]!) / predicted);
    const keep = 1 - 1 / MEMORY;
    const along = parts.map((_, i) => parts.reduce((sum, part, j) => sum + this.#spread[i * SIZE + j]! * part, 0));
    const size = keep / weight + parts.reduce((sum, part, i) => sum + part * along[i]!, 0);
    const error = ratio - parts.reduce((sum, part, i) => sum + part * this.#weights[i]!, 0);
    this.#weights = this.#weights.map((value, i) => value + (along[i]! / size) * error);
    this.#spread = this.#spread.map((value, at) => {
      const [i, j] = [Math.floor(at / SIZE), at % SIZE];
      // What is not seen for long must not become so uncertain that one odd pass decides it.
      const next = (value - (along[i]! * along[j]!) / size) / keep;
      return i === j ? Math.min(next, 1 / PRIOR) : next;
    });
  }
}

function vectorOf({ pass, row, wanted, context, heads }: PassCosts): Vector {
  return [pass, row, wanted, context, heads];
}

function vectorCosts([pass, row, wanted, context, heads]: Vector): PassCosts {
  return { pass, row, wanted, context, heads };
}

function identity(scale: number): number[] {
  return Array.from({ length: SIZE * SIZE }, (_, i) => (i % (SIZE + 1) === 0 ? scale : 0));
}
