import { assert } from "../assert.ts";
import { type DraftTree, EMPTY_TREE } from "../draft-tree.ts";
import type { TokenId } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import type { NgramModel } from "../ngram/model.ts";
import { PromptModel } from "../ngram/prompt.ts";
import { AcceptanceModel, type Calibration, evidenceOf } from "./calibration.ts";
import { Continuations } from "./continuations.ts";
import { History } from "./history.ts";
import type { RescorerSpec } from "./index.ts";
import { PathTree } from "./path-tree.ts";
import type { DraftScope, Rescorer } from "./rescorer.ts";

/**
 * The draft tree with the highest expected accepted length, under calibrated probabilities from heads, n-gram model
 * (unless alpha is 0) and the prompt's n-grams: of a given number of nodes, or, where the time of a step is known, of
 * the number with the most expected tokens per millisecond, (1 + sum of P(node accepted)) / stepMs(nodes).
 */
export function treeRescorer(
  spec: RescorerSpec & { type: "tree" },
  pack: NgramModel | null,
  calibration: Calibration,
): Rescorer {
  const model = spec.alpha === 0 ? null : (pack?.withOrder(spec.order) ?? null);
  assert(model !== null || spec.alpha === 0, "alpha > 0 needs a language model");
  const history = new History(model, spec.prompt ? new PromptModel() : null);
  const evidence = evidenceOf(model !== null, spec.prompt);
  const weights = calibration.weights[evidence];
  assert(weights !== undefined, `calibration for ${evidence}`);
  const tree = new PathTree(new Continuations(history), new AcceptanceModel(weights));

  return {
    choosesNodes: true,
    commit: (tokens: ArrayLike<TokenId>) => history.commit(tokens),
    draft(lattice: Lattice, maxNodes: number, scope?: DraftScope): DraftTree {
      assert(maxNodes >= 0, `node budget ${maxNodes}`);
      const limit = Math.min(maxNodes, LIMITS.draftNodes);
      if (limit === 0) return EMPTY_TREE;
      tree.begin(lattice, history, scope?.depth ?? lattice.heads);
      const nodes = scope?.stepMs == null ? growAll(tree, limit) : growWorthwhile(tree, limit, scope.stepMs);
      return { tokens: tree.tokens.slice(0, nodes), parents: tree.parents.slice(0, nodes) };
    },
  };
}

function growAll(tree: PathTree, limit: number): number {
  while (tree.count < limit && tree.peek() > 0) tree.grow();
  return tree.count;
}

/** Grows until no larger tree can have a better rate; the best number of nodes, the larger one on a tie. */
function growWorthwhile(tree: PathTree, limit: number, stepMs: Float64Array): number {
  let best = 0;
  let expected = 1;
  let bestRate = 1 / stepMs[0]!;
  for (let next = tree.peek(); tree.count < limit && next > 0; next = tree.peek()) {
    if (!mayPay(expected, next, tree.count, limit, stepMs, bestRate)) break;
    tree.grow();
    expected += next;
    const rate = expected / stepMs[tree.count]!;
    if (rate >= bestRate) {
      bestRate = rate;
      best = tree.count;
    }
  }
  return best;
}

/** Whether some larger tree would have the best rate if all its further nodes were as likely as the next one. */
function mayPay(
  expected: number,
  next: number,
  count: number,
  limit: number,
  stepMs: Float64Array,
  rate: number,
): boolean {
  for (let nodes = count + 1; nodes <= limit; nodes++) {
    if (expected + (nodes - count) * next >= rate * stepMs[nodes]!) return true;
  }
  return false;
}
