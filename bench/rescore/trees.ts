import type { DraftTree } from "../../shared/draft-tree.ts";
import { narrowLattice } from "../../shared/lattice.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { NgramModel } from "../../shared/ngram/model.ts";
import type { Calibration } from "../../shared/rescore/calibration.ts";
import { WEIGHTS } from "../../shared/rescore/features.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import { type Case, HEADS, prng, sampleText } from "./inputs.ts";

const NODES = [16, 32, 63];
/** Tokens of the prompt that the trees may copy from. */
const PROMPT = 500;

export interface TreeOptions {
  readonly cases: readonly Case[];
  readonly rounds: number;
  readonly alpha: number;
  readonly now: () => number;
}

/**
 * Microseconds of one `tree` draft with n-gram model and prompt, by nodes, then by k: mean of the rounds, median of
 * the lattices. The weights are random: they decide what is drafted, not what it costs.
 */
export function measureTrees(
  model: NgramModel,
  { cases, rounds, alpha, now }: TreeOptions,
  widths: readonly number[],
  onTree: (tree: DraftTree) => void,
): Record<string, Record<string, number>> {
  const calibration = benchCalibration();
  const prompt = sampleText(model, PROMPT, 7);
  const spec = { type: "tree", order: model.order, alpha, prompt: true } as const;
  const table: Record<string, Record<string, number>> = {};
  for (const nodes of NODES) {
    table[nodes] = {};
    for (const k of widths) {
      const runs = cases.map(({ history, lattice }) => {
        const narrow = narrowLattice(lattice, HEADS, k);
        const rescorer = createRescorer(spec, model, calibration);
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
  return { version: 0, command: "", pack: null, weights: { "heads+lm+prompt": weights, "heads+prompt": weights } };
}
