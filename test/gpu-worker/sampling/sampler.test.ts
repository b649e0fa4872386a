import { describe, expect, test } from "vitest";
import { tokenLogProbs } from "../../../gpu-worker/sampling/log-probs.ts";
import { nucleus } from "../../../gpu-worker/sampling/nucleus.ts";
import { gumbelNoise, highest, sampleToken } from "../../../gpu-worker/sampling/sampler.ts";
import { Random } from "../../helpers/random.ts";

function softmax(logits: Float32Array, temperature: number): number[] {
  const top = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp((logit - top) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

function randomLogits(random: Random, vocabSize: number, spread: number): Float32Array {
  return Float32Array.from({ length: vocabSize }, () => (random.unit() - 0.5) * spread);
}

/** Pearson's statistic of counts against probabilities. */
function chiSquare(counts: readonly number[], probabilities: readonly number[]): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.reduce(
    (sum, count, i) => sum + (count - total * probabilities[i]!) ** 2 / (total * probabilities[i]!),
    0,
  );
}

/** 99.9 % points of the chi-square distribution. */
const CRITICAL = { 7: 24.32, 15: 37.7 } as const;

describe("sampling", () => {
  const logits = Float32Array.of(1.5, 0.2, -1, 2.1, 0, 0.9, -0.4, 1.2);

  test.each([0.5, 1, 1.7])("at temperature %f has the softmax's distribution over positions", (temperature) => {
    const counts = new Array<number>(8).fill(0);
    for (let position = 0; position < 40_000; position++) {
      counts[sampleToken(logits, { temperature, topP: 1, seed: 99 }, position)]!++;
    }
    expect(chiSquare(counts, softmax(logits, temperature))).toBeLessThan(CRITICAL[7]);
  });

  test("has it over seeds too", () => {
    const counts = new Array<number>(8).fill(0);
    for (let seed = 0; seed < 40_000; seed++) counts[sampleToken(logits, { temperature: 1, topP: 1, seed }, 17)]!++;
    expect(chiSquare(counts, softmax(logits, 1))).toBeLessThan(CRITICAL[7]);
  });

  test("neighbouring positions are independent", () => {
    const four = logits.slice(0, 4);
    const p = softmax(four, 1);
    const counts = new Array<number>(16).fill(0);
    const at = (position: number) => sampleToken(four, { temperature: 1, topP: 1, seed: 5 }, position);
    for (let position = 0; position < 80_000; position += 2) counts[at(position) * 4 + at(position + 1)]!++;
    expect(
      chiSquare(
        counts,
        Array.from({ length: 16 }, (_, i) => p[i >> 2]! * p[i & 3]!),
      ),
    ).toBeLessThan(CRITICAL[15]);
  });

  test("with top-p has the renormalised distribution over the tokens kept", () => {
    const p = softmax(logits, 1);
    const kept = [3, 0, 7, 5];
    const mass = kept.reduce((sum, token) => sum + p[token]!, 0);
    const counts = new Map<number, number>();
    for (let position = 0; position < 40_000; position++) {
      const token = sampleToken(logits, { temperature: 1, topP: mass - 0.01, seed: 3 }, position);
      counts.set(token, (counts.get(token) ?? 0) + 1);
    }
    expect([...counts.keys()].sort()).toEqual([...kept].sort());
    const expected = kept.map((token) => p[token]! / mass);
    expect(
      chiSquare(
        kept.map((token) => counts.get(token)!),
        expected,
      ),
    ).toBeLessThan(CRITICAL[7]);
  });

  test("equals the argmax of scaled logits plus noise, computed without short cuts", () => {
    const random = new Random(8);
    for (let round = 0; round < 300; round++) {
      const some = randomLogits(random, random.int(1, 2000), 30);
      const temperature = 0.1 + random.unit() * 2;
      const seed = random.int(0, 2 ** 32 - 1);
      const top = Math.max(...some);
      const scores = Array.from(some, (logit, t) => (logit - top) * (1 / temperature) + gumbelNoise(seed, round, t));
      const best = scores.indexOf(Math.max(...scores));
      expect(sampleToken(some, { temperature, topP: 1, seed }, round)).toBe(best);
    }
  });

  test("depends on seed, position and logits alone", () => {
    const draw = (seed: number, position: number) => sampleToken(logits, { temperature: 1, topP: 1, seed }, position);
    const text = Array.from({ length: 50 }, (_, position) => draw(4, position));
    expect(Array.from({ length: 50 }, (_, position) => draw(4, position))).toEqual(text);
    expect(Array.from({ length: 50 }, (_, position) => draw(5, position))).not.toEqual(text);
    expect(Array.from({ length: 50 }, (_, position) => draw(4, position + 1))).not.toEqual(text);
  });

  test("the noise is finite at the ends of the seeds and positions", () => {
    for (const seed of [0, 1, 2 ** 31, 2 ** 32 - 1]) {
      for (const position of [0, 1, 8191, 2 ** 31]) expect(gumbelNoise(seed, position, 0)).toBeGreaterThan(-4);
    }
  });

  test("at temperature 0 is the highest logit, of equals the lowest id", () => {
    expect(sampleToken(Float32Array.of(1, 3, 3, 2), { temperature: 0, topP: 1, seed: 1 }, 0)).toBe(1);
    expect(highest(Float32Array.of(-5, -5))).toBe(0);
  });

  test("at the smallest temperatures is finite and greedy", () => {
    expect(sampleToken(logits, { temperature: Number.MIN_VALUE, topP: 0.5, seed: 1 }, 0)).toBe(3);
    expect(sampleToken(logits, { temperature: 1e-30, topP: 1, seed: 1 }, 0)).toBe(3);
  });

  test("logits of minus infinity are never drawn", () => {
    const some = Float32Array.of(-Infinity, 0, -Infinity, 0);
    for (let position = 0; position < 500; position++) {
      expect([1, 3]).toContain(sampleToken(some, { temperature: 2, topP: 0.99, seed: 1 }, position));
    }
  });
});

describe("top-p", () => {
  test("keeps the smallest set of the likeliest tokens with that mass, as by sorting", () => {
    const random = new Random(6);
    for (let round = 0; round < 300; round++) {
      const vocabSize = random.int(1, 300);
      // Coarse values, so that there are ties.
      const logits = randomLogits(random, vocabSize, 20).map((logit) => Math.round(logit * 4) / 4);
      const temperature = 0.3 + random.unit();
      const topP = 0.05 + random.unit() * 0.9;
      const p = softmax(logits, temperature);
      const ranked = [...p.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
      let mass = 0;
      const kept = ranked.filter((token) => {
        const wanted = mass < topP;
        mass += p[token]!;
        return wanted;
      });
      const { logit, lastToken } = nucleus(logits, temperature, topP);
      const got = ranked.filter((token) => logits[token]! > logit || (logits[token] === logit && token <= lastToken));
      expect(got).toEqual(kept);
    }
  });

  test("keeps one token at least", () => {
    expect(nucleus(Float32Array.of(0, 5, 1), 1, 1e-9)).toEqual({ logit: 5, lastToken: 1 });
  });
});

describe("log-probabilities", () => {
  test("are the log-softmax of the logits, of the chosen token and of the likeliest ones", () => {
    const random = new Random(9);
    for (let round = 0; round < 100; round++) {
      const logits = randomLogits(random, 50, 20).map((logit) => Math.round(logit * 2) / 2);
      const expected = softmax(logits, 1).map(Math.log);
      const chosen = random.int(0, 49);
      const { logProb, topTokens, topLogProbs } = tokenLogProbs(logits, chosen, 7);
      expect(logProb).toBeCloseTo(expected[chosen]!, 5);
      expect([...topTokens]).toEqual([...expected.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, 7));
      for (const [i, token] of topTokens.entries()) expect(topLogProbs[i]).toBeCloseTo(expected[token]!, 5);
    }
  });

  test("never exceed 0, and may be of fewer tokens than asked for", () => {
    const { logProb, topTokens } = tokenLogProbs(Float32Array.of(200, -200), 0, 20);
    expect(logProb).toBe(0);
    expect([...topTokens]).toEqual([0, 1]);
  });

  test("with no alternatives asked for there are none", () => {
    expect(tokenLogProbs(Float32Array.of(1, 2), 0, 0).topTokens).toHaveLength(0);
  });
});
