import type { OpenSpec, Sampling, TokenLogProbs } from "../../shared/engine.ts";
import { createLattice, type Lattice } from "../../shared/lattice.ts";
import { Random } from "../helpers/random.ts";

/** A model of no weights: everything follows from these and from the tokens. */
export interface ToyOptions {
  /** Another seed is another model. */
  readonly seed?: number;
  /** The next token depends on this many last ones. */
  readonly memory?: number;
  /** How often a lattice row lists the token that will really come; elsewhere it lists others. */
  readonly skill?: number;
  /** Where it is listed, it is among the first `ranks`. */
  readonly ranks?: number;
}

export class ToyModel {
  readonly #vocabSize: number;
  readonly #seed: number;
  readonly #memory: number;
  readonly #skill: number;
  readonly #ranks: number;

  constructor(vocabSize: number, { seed = 1, memory = 3, skill = 0.7, ranks = 3 }: ToyOptions) {
    this.#vocabSize = vocabSize;
    this.#seed = seed;
    this.#memory = memory;
    this.#skill = skill;
    this.#ranks = ranks;
  }

  choose(tokens: readonly number[], { temperature, topP, seed }: Sampling): number {
    const logits = this.#logits(tokens);
    if (temperature === 0) return logits.indexOf(Math.max(...logits));
    const probabilities = softmax(logits.map((logit) => logit / temperature));
    const ranked = [...probabilities.keys()].sort((a, b) => probabilities[b]! - probabilities[a]! || a - b);
    const mass = (n: number) => ranked.slice(0, n).reduce((sum, token) => sum + probabilities[token]!, 0);
    let kept = 1;
    while (kept < ranked.length && mass(kept) < topP) kept++;
    const drawn = new Random(seed * 65_537 + tokens.length).unit() * mass(kept);
    let chosen = 0;
    while (chosen < kept - 1 && mass(chosen + 1) <= drawn) chosen++;
    return ranked[chosen]!;
  }

  logProbs(tokens: readonly number[], token: number, count: number): TokenLogProbs {
    const logProbs = softmax(this.#logits(tokens)).map(Math.log);
    const ranked = [...logProbs.keys()].sort((a, b) => logProbs[b]! - logProbs[a]! || a - b).slice(0, count);
    return {
      logProb: Math.fround(logProbs[token]!),
      topTokens: Uint32Array.from(ranked),
      topLogProbs: Float32Array.from(ranked, (id) => logProbs[id]!),
    };
  }

  /**
   * Log-probabilities are multiples of 1/8, which float16 holds exactly. With a local rescorer of any weight the token
   * that will really come is first wherever it is listed.
   */
  lattice(tokens: readonly number[], k: number, { heads, sampling, neural, pair }: OpenSpec): Lattice {
    const draw = new Random(mix(this.#seed + 1, tokens.slice(-4)));
    const ids: number[] = [];
    const logProbs: number[] = [];
    const future = [...tokens];
    for (let row = 0; row < heads; row++) {
      const truth = this.choose(future, sampling);
      future.push(truth);
      const rank = draw.chance(this.#skill) ? draw.int(0, this.#ranks - 1) : k;
      const first = draw.int(0, this.#vocabSize - 1);
      const others = Array.from({ length: k + 1 }, (_, i) => (first + i) % this.#vocabSize).filter((t) => t !== truth);
      const listed = [...others.slice(0, rank), truth, ...others.slice(rank)].slice(0, k);
      if (neural !== null && neural > 0) listed.sort((a, b) => Number(b === truth) - Number(a === truth));
      ids.push(...listed);
      let logProb = 0;
      for (let i = 0; i < k; i++) {
        logProb -= draw.int(1, 12) / 8;
        logProbs.push(logProb);
      }
    }
    const values = Int8Array.from({ length: 8 }, (_, i) => (i % 4 === 0 ? 127 : draw.int(-127, 127)));
    const query = pair === true ? ({ values, scales: [1 / 64, 1 / 128] } as const) : null;
    return createLattice(heads, k, Uint32Array.from(ids), Float32Array.from(logProbs), query);
  }

  #logits(tokens: readonly number[]): number[] {
    const draw = new Random(mix(this.#seed, tokens.slice(-this.#memory)));
    return Array.from({ length: this.#vocabSize }, () => draw.unit() * 6);
  }
}

function softmax(logits: readonly number[]): number[] {
  const top = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

function mix(seed: number, values: readonly number[]): number {
  let hash = seed >>> 0;
  for (const value of values) hash = Math.imul(hash ^ (value + 1), 0x01000193) ^ (hash >>> 15);
  return hash >>> 0;
}
