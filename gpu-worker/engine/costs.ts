import type { PassCosts } from "../../shared/engine.ts";
import type { RunnerItem } from "../runner.ts";

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

/** What a pass over these items consists of, before it is known which lattices it makes; `lengths`: of their pasts. */
export function workOf(items: readonly RunnerItem[], lengths: readonly number[]): PassWork {
  let rows = 0;
  let wanted = 0;
  let context = 0;
  for (const [i, { work }] of items.entries()) {
    const own = "rows" in work ? work.rows : work.draft.tokens.length + 1;
    rows += own;
    if ("draft" in work) wanted += own;
    context += (own * (lengths[i]! + ("rows" in work ? own / 2 : 0))) / 1024;
  }
  return { rows, wanted, context, heads: 0 };
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

/** What time is worth in a pass, ms. */
export interface Rates {
  /** A pass over the roots alone, by step: what an accepted token saves. */
  readonly token: number;
  /** One more row. */
  readonly row: number;
  /** A lattice. */
  readonly lattice: number;
}

/** Of a pass over steps of sessions that have these lengths. */
export function ratesOf(costs: PassCosts, lengths: readonly number[]): Rates {
  const steps = Math.max(1, lengths.length);
  const context = lengths.reduce((sum, length) => sum + length / 1024, 0);
  const token = passMs(costs, { rows: steps, wanted: steps, context, heads: 0 }) / steps;
  return { token, row: costs.row + costs.wanted + (costs.context * context) / steps, lattice: costs.heads };
}

/** Passes that are remembered: some seconds of serving. */
const MEMORY = 400;
/** A pass that takes longer than this many times its prediction is likely somebody else's doing, and counts less. */
const SLOW = 1.3;
/** Nor does it count as longer than this many times. */
const SLOWEST = 4;
/** Passes that only tell how fast this machine is beside the one that the start was measured on. */
const WARM_UP = 12;
/** What the start is worth, in passes: where live passes tell nothing, it stands. */
const PRIOR = 4;

const NAMES = ["pass", "row", "wanted", "context", "heads"] as const;
const SIZE = NAMES.length;

/**
 * The cost model, learned from the passes as they happen: least squares on relative errors with forgetting, drawn
 * towards a start that ships with the bundle (ridge regression), no part below zero. Passes that are slower than
 * foreseen weigh less the slower they were, so that a machine that is busy now and then does not pass for one on
 * which rows are expensive.
 */
export class CostModel {
  /** Start, scaled to this machine. */
  #start: readonly number[];
  /** Of each part of the start: 1 where nothing else is known. */
  #weights: readonly number[] = NAMES.map(() => 1);
  /** [SIZE, SIZE] and [SIZE]: the normal equations, decaying. */
  readonly #squares = new Float64Array(SIZE * SIZE);
  readonly #products = new Float64Array(SIZE);
  readonly #ratios: number[] = [];

  constructor(start: PassCosts) {
    this.#start = NAMES.map((name) => start[name]);
  }

  get costs(): PassCosts {
    const [pass, row, wanted, context, heads] = this.#weights.map((weight, i) => weight * this.#start[i]!);
    // Every pass costs something.
    const least = this.#start[0]! / 20;
    return { pass: Math.max(pass!, least), row: row!, wanted: wanted!, context: context!, heads: heads! };
  }

  observe(work: PassWork, ms: number): void {
    if (!(ms > 0)) return;
    const predicted = passMs(this.costs, work);
    if (this.#ratios.length < WARM_UP) {
      this.#ratios.push(ms / predicted);
      if (this.#ratios.length < WARM_UP) return;
      const speed = this.#ratios.toSorted((a, b) => a - b)[WARM_UP >> 1]!;
      this.#start = this.#start.map((part) => part * speed);
      return;
    }
    const ratio = Math.min(ms / predicted, SLOWEST);
    const weight = Math.min(1, (SLOW / ratio) ** 3);
    const amounts = [1, work.rows, work.wanted, work.context, work.heads];
    const parts = amounts.map((amount, i) => (amount * this.#start[i]!) / predicted);
    const keep = 1 - 1 / MEMORY;
    for (let i = 0; i < SIZE; i++) {
      this.#products[i] = this.#products[i]! * keep + weight * ratio * parts[i]!;
      for (let j = 0; j < SIZE; j++) {
        this.#squares[i * SIZE + j] = this.#squares[i * SIZE + j]! * keep + weight * parts[i]! * parts[j]!;
      }
    }
    this.#weights = this.#solve();
  }

  /** The weights of least squares; parts that would be negative are nothing, one after the other. */
  #solve(): number[] {
    const kept = NAMES.map((_, i) => i);
    for (;;) {
      const solution = solve(
        kept.map((i) => kept.map((j) => this.#squares[i * SIZE + j]! + (i === j ? PRIOR / SIZE : 0))),
        kept.map((i) => this.#products[i]! + PRIOR / SIZE),
      );
      const least = solution.reduce((at, value, i) => (value < solution[at]! ? i : at), 0);
      if (solution.length === 0 || solution[least]! >= 0) {
        return NAMES.map((_, i) => (kept.includes(i) ? solution[kept.indexOf(i)]! : 0));
      }
      kept.splice(least, 1);
    }
  }
}

/** x of A x = b for a positive definite A, by elimination. */
function solve(A: readonly (readonly number[])[], b: readonly number[]): number[] {
  const rows = A.map((row, i) => [...row, b[i]!]);
  const size = rows.length;
  for (let i = 0; i < size; i++) {
    for (let r = i + 1; r < size; r++) {
      const factor = rows[r]![i]! / rows[i]![i]!;
      for (let c = i; c <= size; c++) rows[r]![c]! -= factor * rows[i]![c]!;
    }
  }
  const x = new Array<number>(size).fill(0);
  for (let i = size - 1; i >= 0; i--) {
    let sum = rows[i]![size]!;
    for (let c = i + 1; c < size; c++) sum -= rows[i]![c]! * x[c]!;
    x[i] = sum / rows[i]![i]!;
  }
  return x;
}
