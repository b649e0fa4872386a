import { describe, expect, test } from "vitest";
import { evidenceAtHand, fitCalibration } from "../../bench/calibrate/calibration.ts";
import { collectExamples, type Examples } from "../../bench/calibrate/examples.ts";
import { fit } from "../../bench/calibrate/fit.ts";
import type { Generation } from "../../bench/eval/trace.ts";
import { CERTAIN } from "../../shared/draft-tree.ts";
import { createLattice } from "../../shared/lattice.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import { CALIBRATION_VERSION, EVIDENCE, evidenceOf } from "../../shared/rescore/calibration.ts";
import { WEIGHTS } from "../../shared/rescore/features.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import { NO_RUNNERS_UP } from "../../shared/runners-up.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { Random } from "../helpers/random.ts";
import { HASH, toyModel } from "../ngram/helpers.ts";
import { toyPairs, toyQuery, withQuery } from "../rescore/toy-pairs.ts";

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

  test("ends at the same weights wherever it starts", () => {
    const far = Float64Array.from({ length: WEIGHTS }, (_, i) => (i === 0 ? -4 : 0));
    const [near, other] = [null, far].map((start) => fit(coin(1000, 0.9), 1e-6, 100, start));
    expect(other!.weights[0]).toBeCloseTo(near!.weights[0]!, 3);
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

describe("a calibration", () => {
  const pairs = toyPairs(new Random(3), VOCAB);
  const model = loadPack(writePack(toyModel({ seed: 4, order: 2, vocabSize: VOCAB, length: 50 }).table, HASH));
  const kinds = (lm: boolean, pair: boolean) =>
    evidenceAtHand({ model: lm ? model : null, pair: pair ? pairs.tables : null }).map(evidenceOf);

  test("has a set of weights for each combination of evidence at hand", () => {
    expect(kinds(true, true)).toEqual(EVIDENCE.map(evidenceOf));
    expect(kinds(true, true)).toHaveLength(16);
    expect(kinds(true, false)).toEqual(kinds(true, true).slice(0, 8));
    expect(kinds(false, false)).toEqual(["heads", "heads+recycled", "heads+prompt", "heads+prompt+recycled"]);
    expect(kinds(false, true)).toHaveLength(8);
  });

  test("learns from pairs which candidates follow one another, as far as lattices have queries", () => {
    const generations = Array.from({ length: 10 }, (_, i) => pairGeneration(new Random(i), pairs.score, 30));
    const options = { model: null, pack: null, penalty: 0.1, command: "" };
    let fits = 0;
    const onFit = () => void fits++;
    const { calibration, loss } = fitCalibration(generations, { ...options, pair: pairs.tables, onFit });
    expect(Object.keys(calibration.weights)).toEqual(kinds(false, true));
    expect(fits).toBe(8);
    expect(loss["heads+pair"]).toBeLessThan(loss.heads! - 0.1);
    const blind = generations.map((generation) => ({
      ...generation,
      lattices: generation.lattices.map((lattice) => withQuery(lattice, null)),
    }));
    const without = fitCalibration(blind, { ...options, pair: pairs.tables });
    expect(without.loss["heads+pair"]).toBeCloseTo(without.loss.heads!, 6);
    for (const [i, weight] of without.calibration.weights["heads+pair"]!.entries())
      expect(weight).toBeCloseTo(without.calibration.weights.heads![i]!, 2);
    expect(Object.keys(fitCalibration(generations, { ...options, pair: null }).loss)).toEqual(kinds(false, false));
  });
});

/** Each second column lists two tokens as likely as each other, of which the one that follows better is true. */
function pairGeneration(random: Random, score: ReturnType<typeof toyPairs>["score"], length: number): Generation {
  const output = [0, 2];
  const lattices = Array.from({ length }, (_, at) => {
    const query = toyQuery(random);
    const [first, second] = random.pick([
      [4, 12],
      [22, 8],
      [34, 48],
    ]) as [number, number];
    const before = output[at + 1]!;
    const better = score(query, before, first) > score(query, before, second) ? first : second;
    output.push(better);
    const tokens = Uint32Array.of(before, 1, first, second);
    return createLattice(HEADS, 2, tokens, Float32Array.of(-0.1, -5, -0.7, -0.7), query);
  });
  const prompt = Uint32Array.of(1, 3, 5);
  return {
    ...{ id: "a", category: "c", turn: 0, prompt, lattices, runnersUp: NO_RUNNERS_UP },
    output: Uint32Array.from(output.slice(0, length)),
  };
}

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
