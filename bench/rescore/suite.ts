import type { DraftTree } from "../../shared/draft-tree.ts";
import { narrowLattice } from "../../shared/lattice.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import { EMPTY_STATE, type NgramModel } from "../../shared/ngram/model.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import { edgeScore } from "../../shared/rescore/lattice-columns.ts";
import { type Case, HEADS, sampleText } from "./inputs.ts";
import { measureTrees } from "./trees.ts";

export interface SuiteOptions {
  readonly alpha: number;
  readonly cases: readonly Case[];
  /**
   * All lattices are drafted in turn this often, so that none is met warm. workerd's clock has steps of 1 ms, but a
   * lattice's steps summed over the rounds have the right mean.
   */
  readonly rounds: number;
  readonly textTokens: number;
  /** Milliseconds; may be coarse. */
  readonly now: () => number;
}

/** By order, then by k: microseconds of one draft, mean of the rounds, median of the lattices. */
type Table = Record<string, Record<string, number>>;

export interface SuiteResult {
  readonly loadMs: number;
  readonly queriesPerS: number;
  readonly oneBestUs: Table;
  readonly p16BestUs: Table;
  /** By nodes, then by k. */
  readonly treeUs: Table;
  /** Enumeration of every path at k = 4, p = 1, and whether it found the same path. */
  readonly bruteForceUs: number;
  readonly bruteForceAgrees: boolean;
  /** Of every score and every draft: equal in Node and workerd. */
  readonly checksum: number;
}

const ORDERS = [2, 3, 4];
const WIDTHS = [4, 8, 16];
const BUDGET = 63;

/** Runs in Node and in workerd alike. */
export function runSuite(pack: Uint8Array, options: SuiteOptions): SuiteResult {
  const { now } = options;
  const loads = Array.from({ length: 5 }, () => {
    const start = now();
    loadPack(pack);
    return now() - start;
  });
  const model = loadPack(pack);
  const sum = new Checksum();
  const queriesPerS = measureQueries(model, options, sum);
  const oneBestUs = measureDrafts(model, 1, options, sum);
  const p16BestUs = measureDrafts(model, 16, options, sum);
  const treeUs = measureTrees(model, options, WIDTHS, (tree) => sum.addTree(tree));
  const brute = measureBruteForce(model, options);
  return { loadMs: median(loads), queriesPerS, oneBestUs, p16BestUs, treeUs, ...brute, checksum: sum.value };
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
    let state = EMPTY_STATE;
    let total = 0;
    for (let i = 0; i < text.length; i++) {
      total += model.score(state, text[i]!);
      state = model.next;
    }
    sum.add(Math.round(-total * 1024));
    return (text.length / (now() - start)) * 1000;
  });
  return Math.round(median(rates));
}

function measureDrafts(model: NgramModel, pBest: number, options: SuiteOptions, sum: Checksum): Table {
  const table: Table = {};
  for (const order of ORDERS.filter((n) => n <= model.order)) {
    table[order] = {};
    for (const k of WIDTHS) {
      const runs = options.cases.map(({ history, lattice }) => {
        const narrow = narrowLattice(lattice, HEADS, k);
        const rescorer = createRescorer({ type: "ngram", order, alpha: options.alpha, pBest }, model);
        rescorer.commit(history);
        sum.addTree(rescorer.draft(narrow, BUDGET));
        return { rescorer, narrow };
      });
      const spent = new Float64Array(runs.length);
      for (let round = 0; round < options.rounds; round++) {
        runs.forEach(({ rescorer, narrow }, i) => {
          const start = options.now();
          rescorer.draft(narrow, BUDGET);
          spent[i]! += options.now() - start;
        });
      }
      const times = [...spent].map((ms) => (ms * 1000) / options.rounds);
      table[order]![k] = Math.round(10 * median(times)) / 10;
    }
  }
  return table;
}

/** The plain reference: score every one of 4^8 paths, keep the best. */
function measureBruteForce(
  model: NgramModel,
  options: SuiteOptions,
): { bruteForceUs: number; bruteForceAgrees: boolean } {
  let agrees = true;
  const times = options.cases.slice(0, 5).map(({ history, lattice }) => {
    const narrow = narrowLattice(lattice, HEADS, 4);
    const rescorer = createRescorer({ type: "ngram", order: model.order, alpha: options.alpha, pBest: 1 }, model);
    rescorer.commit(history);
    let state = EMPTY_STATE;
    for (const token of history) {
      model.score(state, token);
      state = model.next;
    }
    const start = options.now();
    const best = { score: -Infinity, tokens: [] as number[] };
    const walk = (i: number, score: number, at: number, tokens: number[]): void => {
      if (i === narrow.heads) {
        if (score > best.score) Object.assign(best, { score, tokens });
        return;
      }
      for (let r = 0; r < narrow.k; r++) {
        const token = narrow.tokens[i * narrow.k + r]!;
        const lm = model.score(at, token);
        walk(i + 1, score + edgeScore(options.alpha, narrow.logProbs[i * narrow.k + r]!, lm), model.next, [
          ...tokens,
          token,
        ]);
      }
    };
    walk(0, 0, state, []);
    const elapsed = (options.now() - start) * 1000;
    agrees &&= rescorer.draft(narrow, BUDGET).tokens.join() === best.tokens.join();
    return elapsed;
  });
  return { bruteForceUs: Math.round(median(times)), bruteForceAgrees: agrees };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
