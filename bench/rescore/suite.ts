import type { DraftTree } from "../../shared/draft-tree.ts";
import { createLattice, narrowLattice } from "../../shared/lattice.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import { EMPTY_STATE, type NgramModel } from "../../shared/ngram/model.ts";
import { createRescorer, type RescorerSpec } from "../../shared/rescore/index.ts";
import type { PairTables } from "../../shared/rescore/pair-scores.ts";
import { bruteForce } from "./brute-force.ts";
import { type Case, HEADS, K, sampleText } from "./inputs.ts";
import { measureCalibrated } from "./trees.ts";

export interface SuiteOptions {
  readonly alpha: number;
  readonly cases: readonly Case[];
  /** The cases' queries are for these. */
  readonly pair: PairTables;
  /**
   * All lattices are drafted in turn this often, so that none is met warm. workerd's clock has steps of 1 ms, but a
   * lattice's steps summed over the rounds have the right mean.
   */
  readonly rounds: number;
  readonly textTokens: number;
  /** Milliseconds; may be coarse. */
  readonly now: () => number;
}

/** What is measured, by the name its figures get: a rescorer for an order and a weight of the language model. */
const SEARCHES: Readonly<Record<string, (order: number, alpha: number) => RescorerSpec>> = {
  one_best: (order, alpha) => ({ type: "ngram", order, alpha, pBest: 1 }),
  p16_best: (order, alpha) => ({ type: "ngram", order, alpha, pBest: 16 }),
};

/** Paths of the rescorer `pair`, by the name their figures get. */
const PAIR_PATHS = { one_best: 1, p16_best: 16 } as const;

/** Microseconds of one draft over the lattices, each lattice's mean over the rounds. */
interface Spread {
  readonly median: number;
  readonly p99: number;
  readonly max: number;
}

/** By order, then by k. */
export type Table<T> = Record<string, Record<string, T>>;

export interface SuiteResult {
  readonly loadMs: number;
  readonly queriesPerS: number;
  /** By name of the search. */
  readonly searches: Record<string, Table<Spread>>;
  /**
   * Lattices that leave a search little to go by, at the pack's order and k = 16, by name of the search: `lm_alone` is
   * alpha = 1, `flat_heads` the same probability for all candidates, `common_tokens` that with the model's likeliest
   * tokens in every column, so that most n-grams are known and ties abound.
   */
  readonly worst: Record<string, Record<string, Spread>>;
  /** The rescorer `pair`: by number of paths, then by k. */
  readonly pairs: Record<string, Record<string, Spread>>;
  /** Drafts of calibrated probabilities with copies, by name (trees.ts): by nodes at most, then by k; medians. */
  readonly calibratedUs: Record<string, Table<number>>;
  /** By order: enumeration of every path at k = 4, median. */
  readonly bruteForceUs: Record<string, number>;
  readonly bruteForceAgrees: boolean;
  /** Of every score and every draft: equal in Node and workerd. */
  readonly checksum: number;
}

const ORDERS = [2, 3, 4];
const WIDTHS = [4, 8, 16];
const BUDGET = 63;

/** Runs in Node and in workerd alike. */
export function runSuite(pack: Uint8Array, options: SuiteOptions): SuiteResult {
  const { now, alpha, cases } = options;
  const loads = Array.from({ length: 5 }, () => {
    const start = now();
    loadPack(pack);
    return now() - start;
  });
  const model = loadPack(pack);
  const sum = new Checksum();
  const queriesPerS = measureQueries(model, options, sum);
  const orders = ORDERS.filter((order) => order <= model.order);
  const searches: Record<string, Table<Spread>> = {};
  const worst: Record<string, Record<string, Spread>> = {};
  for (const [name, specOf] of Object.entries(SEARCHES)) {
    searches[name] = byKey(orders, (order) =>
      byKey(WIDTHS, (k) => measureDrafts(model, specOf(order, alpha), narrowCases(cases, k), options, sum)),
    );
    const worstOf = (spec: RescorerSpec, some: readonly Case[]) => measureDrafts(model, spec, some, options, sum);
    worst[name] = {
      lm_alone: worstOf(specOf(model.order, 1), cases),
      flat_heads: worstOf(specOf(model.order, alpha), cases.map(flatten)),
      common_tokens: worstOf(specOf(model.order, alpha), commonTokens(model, cases).map(flatten)),
    };
  }
  const pairs = Object.fromEntries(
    Object.entries(PAIR_PATHS).map(([name, pBest]) => {
      const spec = { type: "pair", alpha: 1, pBest } as const;
      return [name, byKey(WIDTHS, (k) => measureDrafts(model, spec, narrowCases(cases, k), options, sum))];
    }),
  );
  const calibratedUs = measureCalibrated(model, options, WIDTHS, (tree) => sum.addTree(tree));
  const few = cases.slice(0, 5);
  let bruteForceAgrees = true;
  const bruteForceUs = byKey(orders, (order) => {
    const runs = [1, 16].map((pBest) => bruteForce(model.withOrder(order), few, { alpha, pBest, budget: BUDGET, now }));
    bruteForceAgrees &&= runs.every(({ agrees }) => agrees);
    return Math.round(1000 * median(runs.flatMap(({ times }) => times)));
  });
  const loadMs = median(loads);
  const { value: checksum } = sum;
  return { loadMs, queriesPerS, searches, worst, pairs, calibratedUs, bruteForceUs, bruteForceAgrees, checksum };
}

class Checksum {
  value = 0;
  add(word: number): void {
    this.value = (Math.imul(this.value ^ word, 0x01000193) >>> 0) % 0xfffffffb;
  }
  addTree(tree: DraftTree): void {
    for (let i = 0; i < tree.tokens.length; i++) this.add(tree.tokens[i]! * 64 + tree.parents[i]! + 1);
  }
}

function measureQueries(model: NgramModel, { textTokens, now }: SuiteOptions, sum: Checksum): number {
  const text = sampleText(model, textTokens, 5);
  const rates = Array.from({ length: 5 }, () => {
    const start = now();
    sum.add(Math.round(-scoreText(model, text) * 1024));
    return (text.length / (now() - start)) * 1000;
  });
  return Math.round(median(rates));
}

function scoreText(model: NgramModel, text: Uint32Array): number {
  let state = EMPTY_STATE;
  let total = 0;
  for (let i = 0; i < text.length; i++) {
    total += model.score(state, text[i]!);
    state = model.next;
  }
  return total;
}

function measureDrafts(
  model: NgramModel,
  spec: RescorerSpec,
  cases: readonly Case[],
  { rounds, pair, now }: SuiteOptions,
  sum: Checksum,
): Spread {
  const runs = cases.map(({ history, lattice }) => {
    const rescorer = createRescorer(spec, model, null, null, pair);
    rescorer.commit(history);
    sum.addTree(rescorer.draft(lattice, BUDGET));
    return { rescorer, lattice };
  });
  const spent = new Float64Array(runs.length);
  for (let round = 0; round < rounds; round++) {
    runs.forEach(({ rescorer, lattice }, i) => {
      const start = now();
      rescorer.draft(lattice, BUDGET);
      spent[i]! += now() - start;
    });
  }
  const times = [...spent].map((ms) => Math.round((10_000 * ms) / rounds) / 10).sort((a, b) => a - b);
  const at = (part: number) => times[Math.min(times.length - 1, Math.floor(part * times.length))]!;
  return { median: at(0.5), p99: at(0.99), max: at(1) };
}

const narrowCases = (cases: readonly Case[], k: number): Case[] =>
  cases.map(({ history, lattice }) => ({ history, lattice: narrowLattice(lattice, HEADS, k) }));

/** The same candidates, all as likely. */
function flatten({ history, lattice }: Case): Case {
  const logProbs = new Float32Array(lattice.logProbs.length).fill(-Math.log(K));
  return { history, lattice: createLattice(lattice.heads, lattice.k, lattice.tokens, logProbs) };
}

/** The histories with the model's likeliest tokens in every column. */
function commonTokens(model: NgramModel, cases: readonly Case[]): Case[] {
  const { probs, probTable } = model.arrays;
  const likeliest = Array.from({ length: model.shape.vocabSize }, (_, token) => token)
    .sort((a, b) => probTable[probs[b]!]! - probTable[probs[a]!]! || a - b)
    .slice(0, K);
  const tokens = Uint32Array.from({ length: HEADS * K }, (_, i) => likeliest[i % K]!);
  return cases.map(({ history, lattice }) => ({
    history,
    lattice: createLattice(HEADS, K, tokens, lattice.logProbs),
  }));
}

function byKey<T>(keys: readonly number[], of: (key: number) => T): Record<string, T> {
  return Object.fromEntries(keys.map((key) => [key, of(key)]));
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
