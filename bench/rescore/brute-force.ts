import { type DraftTree, mergePaths } from "../../shared/draft-tree.ts";
import { type Lattice, narrowLattice } from "../../shared/lattice.ts";
import { EMPTY_STATE, type LmState, type NgramModel } from "../../shared/ngram/model.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import { edgeScore } from "../../shared/rescore/lattice-columns.ts";
import { type Case, HEADS } from "./inputs.ts";

/** Candidates per column: 4^8 paths. */
const K = 4;

export interface BruteForceResult {
  /** Milliseconds of each enumeration. */
  readonly times: readonly number[];
  /** Whether the rescorer's drafts were the same. */
  readonly agrees: boolean;
}

/** The plain reference: score every one of 4^8 paths, keep the `pBest` best, earlier paths first on a tie. */
export function bruteForce(
  model: NgramModel,
  cases: readonly Case[],
  options: { alpha: number; pBest: number; budget: number; now: () => number },
): BruteForceResult {
  const { alpha, pBest, budget, now } = options;
  let agrees = true;
  const times = cases.map(({ history, lattice }) => {
    const narrow = narrowLattice(lattice, HEADS, K);
    const rescorer = createRescorer({ type: "ngram", order: model.order, alpha, pBest }, model);
    rescorer.commit(history);
    const start = now();
    const best = bestPaths(model, narrow, stateAfter(model, history), alpha, pBest);
    const elapsed = now() - start;
    agrees &&= equal(rescorer.draft(narrow, budget), mergePaths(best, budget));
    return elapsed;
  });
  return { times, agrees };
}

function stateAfter(model: NgramModel, history: Uint32Array): LmState {
  let state = EMPTY_STATE;
  for (const token of history) {
    model.score(state, token);
    state = model.next;
  }
  return state;
}

function bestPaths(model: NgramModel, lattice: Lattice, state: LmState, alpha: number, pBest: number): number[][] {
  const best: { score: number; tokens: number[] }[] = [];
  const walk = (i: number, score: number, at: LmState, tokens: number[]): void => {
    if (i === lattice.heads) {
      if (best.length === pBest && score <= best[pBest - 1]!.score) return;
      const place = best.findIndex((other) => other.score < score);
      best.splice(place < 0 ? best.length : place, 0, { score, tokens });
      best.length = Math.min(best.length, pBest);
      return;
    }
    for (let r = 0; r < lattice.k; r++) {
      const token = lattice.tokens[i * lattice.k + r]!;
      const lm = model.score(at, token);
      const edge = edgeScore(alpha, lattice.logProbs[i * lattice.k + r]!, lm);
      walk(i + 1, score + edge, model.next, [...tokens, token]);
    }
  };
  walk(0, 0, state, []);
  return best.map(({ tokens }) => tokens);
}

function equal(a: DraftTree, b: DraftTree): boolean {
  return a.tokens.join() === b.tokens.join() && a.parents.join() === b.parents.join();
}
