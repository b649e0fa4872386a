import { assert } from "../assert.ts";
import { chanceOf, type DraftTree, EMPTY_TREE, treeOf } from "../draft-tree.ts";
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
 * (unless alpha is 0) and the prompt's n-grams: of all nodes that are likely enough, but not more than a given number.
 */
export function treeRescorer(
  spec: RescorerSpec & { type: "tree" },
  pack: NgramModel | null,
  calibration: Calibration,
  prediction: ArrayLike<TokenId> | null,
): Rescorer {
  const model = spec.alpha === 0 ? null : (pack?.withOrder(spec.order) ?? null);
  assert(model !== null || spec.alpha === 0, "alpha > 0 needs a language model");
  const history = new History(model, spec.prompt ? new PromptModel() : null, prediction);
  const evidence = evidenceOf(model !== null, spec.prompt);
  const weights = calibration.weights[evidence];
  assert(weights !== undefined, `calibration for ${evidence}`);
  const tree = new PathTree(new Continuations(history), new AcceptanceModel(weights));

  return {
    calibrated: true,
    recall: (texts: readonly ArrayLike<TokenId>[]) => history.recall(texts),
    commit: (tokens: ArrayLike<TokenId>) => history.commit(tokens),
    draft(lattice: Lattice, maxNodes: number, scope?: DraftScope): DraftTree {
      assert(maxNodes >= 0, `node budget ${maxNodes}`);
      const limit = Math.min(maxNodes, LIMITS.draftNodes);
      if (limit === 0) return EMPTY_TREE;
      tree.begin(lattice, history, scope?.depth ?? lattice.heads);
      const floor = Math.max(scope?.floor ?? 0, Number.MIN_VALUE);
      while (tree.count < limit && tree.peek() >= floor) tree.grow();
      const { count } = tree;
      const chances = Uint8Array.from(tree.probabilities.subarray(0, count), chanceOf);
      return treeOf(tree.tokens.subarray(0, count), tree.parents.subarray(0, count), chances);
    },
  };
}
