import { WEIGHTS } from "../../shared/rescore/features.ts";
import type { Examples } from "./examples.ts";

const MEMORY = 10;

export interface Fit {
  readonly weights: Float64Array;
  /** Mean negative log-likelihood of the choices, nats, without the penalty. */
  readonly loss: number;
}

/**
 * Maximum likelihood of a conditional logit model (McFadden 1974): P(outcome) = exp(w . f) / sum exp(w . f) over the
 * choice's outcomes, with `penalty` / 2 |w|^2 added to the summed loss. Convex; by L-BFGS (Nocedal 1980).
 * @param start weights that may be near; where the search ends does not depend on it
 */
export function fit(examples: Examples, penalty: number, rounds: number, start: ArrayLike<number> | null = null): Fit {
  let weights = Float64Array.from(start ?? new Float64Array(WEIGHTS));
  let gradient = new Float64Array(WEIGHTS);
  let value = objective(examples, weights, penalty, gradient);
  const steps: Float64Array[] = [];
  const changes: Float64Array[] = [];
  for (let round = 0; round < rounds; round++) {
    const direction = newtonDirection(gradient, steps, changes);
    const slope = dot(direction, gradient);
    let scale = round === 0 ? 1 / Math.sqrt(dot(gradient, gradient)) : 1;
    const next = new Float64Array(WEIGHTS);
    const nextGradient = new Float64Array(WEIGHTS);
    let nextValue = Infinity;
    // Backtracking until the decrease is worth the step (Armijo's condition).
    for (let tries = 0; tries < 30; tries++, scale /= 2) {
      for (let i = 0; i < WEIGHTS; i++) next[i] = weights[i]! + scale * direction[i]!;
      nextValue = objective(examples, next, penalty, nextGradient);
      if (nextValue <= value + 1e-4 * scale * slope) break;
    }
    if (!(nextValue < value)) break;
    remember(
      steps,
      next.map((w, i) => w - weights[i]!),
    );
    remember(
      changes,
      nextGradient.map((g, i) => g - gradient[i]!),
    );
    const gained = value - nextValue;
    weights = next;
    gradient = nextGradient;
    value = nextValue;
    if (gained < 1e-7 * Math.abs(value)) break;
  }
  return { weights, loss: objective(examples, weights, 0, new Float64Array(WEIGHTS)) / Math.max(1, examples.choices) };
}

/** Summed loss and its gradient, which is written over. */
function objective(examples: Examples, weights: Float64Array, penalty: number, gradient: Float64Array): number {
  const { outcomes, truth, features, ids, values } = examples;
  const scores = new Float64Array(64);
  let loss = 0;
  for (let i = 0; i < WEIGHTS; i++) {
    gradient[i] = penalty * weights[i]!;
    loss += (penalty / 2) * weights[i]! ** 2;
  }
  for (let choice = 0; choice < examples.choices; choice++) {
    const first = outcomes[choice]!;
    const count = outcomes[choice + 1]! - first;
    let highest = -Infinity;
    for (let o = 0; o < count; o++) {
      let score = 0;
      for (let f = features[first + o]!; f < features[first + o + 1]!; f++) score += weights[ids[f]!]! * values[f]!;
      scores[o] = score;
      if (score > highest) highest = score;
    }
    let total = 0;
    for (let o = 0; o < count; o++) total += Math.exp(scores[o]! - highest);
    const norm = highest + Math.log(total);
    loss += norm - scores[truth[choice]!]!;
    for (let o = 0; o < count; o++) {
      const excess = Math.exp(scores[o]! - norm) - (o === truth[choice] ? 1 : 0);
      for (let f = features[first + o]!; f < features[first + o + 1]!; f++) gradient[ids[f]!]! += excess * values[f]!;
    }
  }
  return loss;
}

/** The two-loop recursion. */
function newtonDirection(
  gradient: Float64Array,
  steps: readonly Float64Array[],
  changes: readonly Float64Array[],
): Float64Array {
  const direction = gradient.map((g) => -g);
  const factors: number[] = [];
  for (let i = steps.length - 1; i >= 0; i--) {
    const factor = dot(steps[i]!, direction) / dot(steps[i]!, changes[i]!);
    factors[i] = factor;
    addTo(direction, changes[i]!, -factor);
  }
  const last = steps.length - 1;
  if (last >= 0) {
    const scale = dot(steps[last]!, changes[last]!) / dot(changes[last]!, changes[last]!);
    for (let i = 0; i < WEIGHTS; i++) direction[i]! *= scale;
  }
  for (let i = 0; i < steps.length; i++) {
    const factor = dot(changes[i]!, direction) / dot(steps[i]!, changes[i]!);
    addTo(direction, steps[i]!, factors[i]! - factor);
  }
  return direction;
}

function remember(list: Float64Array[], entry: Float64Array): void {
  list.push(entry);
  if (list.length > MEMORY) list.shift();
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function addTo(into: Float64Array, from: Float64Array, factor: number): void {
  for (let i = 0; i < into.length; i++) into[i]! += factor * from[i]!;
}
