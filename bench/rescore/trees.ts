import type { DraftTree } from "../../shared/draft-tree.ts";
import { narrowLattice } from "../../shared/lattice.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { NgramModel } from "../../shared/ngram/model.ts";
import { type Calibration, EVIDENCE, evidenceOf } from "../../shared/rescore/calibration.ts";
import { WEIGHTS } from "../../shared/rescore/features.ts";
import { createRescorer, type RescorerSpec } from "../../shared/rescore/index.ts";
import type { PairTables } from "../../shared/rescore/pair-scores.ts";
import { type Case, HEADS, prng, sampleText } from "./inputs.ts";

const NODES = [16, 32, 63];
const MOST = [63];

/** What is measured, by the name its figures get: a rescorer, and the nodes that it may draft at most. */
const CALIBRATED = {
  tree: { nodes: NODES, rescorer: { type: "tree", pair: false } },
  tree_pair: { nodes: NODES, rescorer: { type: "tree", pair: true } },
  path: { nodes: MOST, rescorer: { type: "path", pBest: 1, pair: false } },
  path_pair: { nodes: MOST, rescorer: { type: "path", pBest: 1, pair: true } },
} as const;
/** Tokens of the prompt that the trees may copy from. */
const PROMPT = 500;

export interface CalibratedOptions {
  readonly cases: readonly Case[];
  readonly pair: PairTables;
  readonly rounds: number;
  readonly alpha: number;
  readonly now: () => number;
}

/**
 * Microseconds of one draft with n-gram model and prompt, without pairs and with them, by nodes, then by k: mean of the
 * rounds, median of the lattices. The weights are random: they decide what is drafted, not what it costs.
 */
export function measureCalibrated(
  model: NgramModel,
  options: CalibratedOptions,
  widths: readonly number[],
  onTree: (tree: DraftTree) => void,
): Record<string, Record<string, Record<string, number>>> {
  const prompt = sampleText(model, PROMPT, 7);
  return Object.fromEntries(
    Object.entries(CALIBRATED).map(([name, { nodes, rescorer }]) => {
      const spec = { ...rescorer, order: model.order, alpha: options.alpha, prompt: true };
      return [name, measure(spec, prompt, model, options, nodes, widths, onTree)];
    }),
  );
}

function measure(
  spec: RescorerSpec,
  prompt: Uint32Array,
  model: NgramModel,
  { cases, rounds, pair, now }: CalibratedOptions,
  budgets: readonly number[],
  widths: readonly number[],
  onTree: (tree: DraftTree) => void,
): Record<string, Record<string, number>> {
  const calibration = benchCalibration();
  const table: Record<string, Record<string, number>> = {};
  for (const nodes of budgets) {
    table[nodes] = {};
    for (const k of widths) {
      const runs = cases.map(({ history, lattice }) => {
        const narrow = narrowLattice(lattice, HEADS, k);
        const rescorer = createRescorer(spec, model, calibration, null, pair);
        rescorer.commit([...prompt, ...history]);
        const draft = () => rescorer.draft(narrow, nodes, { depth: LIMITS.draftNodes, floor: 0 });
        onTree(draft());
        return draft;
      });
      const spent = new Float64Array(runs.length);
      for (let round = 0; round < rounds; round++) {
        for (const [i, draft] of runs.entries()) {
          const start = now();
          draft();
          spent[i]! += now() - start;
        }
      }
      const times = [...spent].map((ms) => (ms * 1000) / rounds).sort((a, b) => a - b);
      table[nodes]![k] = Math.round(10 * times[times.length >> 1]!) / 10;
    }
  }
  return table;
}

function benchCalibration(): Calibration {
  const random = prng(3);
  const weights = Array.from({ length: WEIGHTS }, () => random());
  const kinds = EVIDENCE.map((kind) => [evidenceOf(kind), weights] as const);
  return { version: 0, command: "", pack: null, weights: Object.fromEntries(kinds) };
}
