import { describe, expect, test } from "vitest";
import { collectExamples, type Examples } from "../../bench/calibrate/examples.ts";
import { fit } from "../../bench/calibrate/fit.ts";
import type { Generation } from "../../bench/eval/trace.ts";
import { CERTAIN } from "../../shared/draft-tree.ts";
import { createLattice } from "../../shared/lattice.ts";
import { CALIBRATION_VERSION } from "../../shared/rescore/calibration.ts";
import { WEIGHTS } from "../../shared/rescore/features.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import { NO_RUNNERS_UP } from "../../shared/runners-up.ts";
import { Random } from "../helpers/random.ts";

const HEADS = 2;
const VOCAB = 50;

/** Heads that list the true token first with probability `hit`, whatever they claim; the text never repeats itself. */
function generation(random: Random, hit: number, length: number): Generation {
  const output = Uint32Array.from({ length }, (_, i) => (i * 7) % VOCAB);
  const lattices = Array.from(output, (_, at) => {
    const tokens = Array.from({ length: HEADS }, (_, row) => {
      const truth = output[at + 1 + row] ?? 0;
      const right = random.chance(hit);
      return [right ? truth : (truth + 1) % VOCAB, (truth + 2) % VOCAB];
    });
    const logProbs = Float32Array.from({ length: 2 * HEADS }, (_, i) => (i % 2 === 0 ? -0.01 : -5));
    return createLattice(HEADS, 2, Uint32Array.from(tokens.flat()), logProbs);
  });
  return {
    id: "a",
    category: "c",
    turn: 0,
    prompt: Uint32Array.of(1, 2, 3),
    output,
    lattices,
    runnersUp: NO_RUNNERS_UP,
  };
}

const OPTIONS = { model: null, prompt: false, recycled: false, pair: null, depth: 8 };

/** One choice between "another token" and one token with feature 0, true in `share` of `count`. */
function coin(count: number, share: number): Examples {
  const truth = Uint8Array.from({ length: count }, (_, i) => (i < share * count ? 1 : 0));
  return {
    choices: count,
    outcomes: Uint32Array.from({ length: count + 1 }, (_, i) => 2 * i),
    truth,
    features: Uint32Array.from({ length: 2 * count + 1 }, (_, i) => i >> 1),
    ids: new Uint16Array(count),
    values: new Float64Array(count).fill(1),
  };
}

describe("the fit", () => {
  test("finds the odds of a coin", () => {
    for (const share of [0.1, 0.5, 0.9]) {
      const { weights, loss } = fit(coin(1000, share), 1e-6, 100);
      expect(weights[0]).toBeCloseTo(Math.log(share / (1 - share)), 3);
      expect(loss).toBeCloseTo(-share * Math.log(share) - (1 - share) * Math.log(1 - share), 5);
    }
  });

  test("leaves weights without evidence at zero", () => {
    const { weights } = fit(coin(100, 0.5), 1, 100);
    expect(weights).toHaveLength(WEIGHTS);
    expect([...weights.subarray(1)].every((w) => w === 0)).toBe(true);
  });
});

test("choices are followed along the completion as far as it was listed", () => {
  const random = new Random(1);
  const right = collectExamples([generation(random, 1, 10)], OPTIONS);
  // Both columns hold the truth, the third position is beyond the lattice, and fewer are left at the end.
  expect(right.choices).toBe(7 * 3 + 2 + 1);
  const wrong = collectExamples([generation(random, 0, 10)], OPTIONS);
  expect(wrong.choices).toBe(9);
  expect([...wrong.truth].every((outcome) => outcome === 0)).toBe(true);
});

test("a calibrated tree does not believe heads that are too sure of themselves", () => {
  const random = new Random(2);
  const generations = Array.from({ length: 40 }, () => generation(random, 0.3, 40));
  const { weights } = fit(collectExamples(generations, OPTIONS), 0.1, 200);
  const calibration = { version: CALIBRATION_VERSION, command: "", pack: null, weights: { heads: [...weights] } };
  const rescorer = createRescorer({ type: "tree", order: 2, alpha: 0, prompt: false }, null, calibration);
  rescorer.commit([1, 2, 3]);
  const { lattices } = generations[0]!;
  // A token is right in 0.3 of cases, though the heads are all but certain of it.
  const draft = (floor: number) => rescorer.draft(lattices[0]!, 2, { depth: 2, floor });
  expect(draft(0.2).tokens.length).toBeGreaterThan(0);
  expect(draft(0.4).tokens.length).toBe(0);
  expect(Math.abs(draft(0).chances[0]! / CERTAIN - 0.3)).toBeLessThan(0.05);
});
