import { assert } from "../assert.ts";
import { CERTAIN, type DraftTree, EMPTY_TREE } from "../draft-tree.ts";
import type { TokenId } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import type { NgramModel } from "../ngram/model.ts";
import { PromptModel } from "../ngram/prompt.ts";
import { bestChains } from "./chains.ts";
import { CANDIDATES, Continuations, UNLISTED } from "./continuations.ts";
import { History } from "./history.ts";
import { type NextTokenModel, PathTree } from "./path-tree.ts";
import { exp } from "./real.ts";
import type { DraftScope, Rescorer } from "./rescorer.ts";

/** Of the settings of `ngram`. */
interface PromptParams {
  readonly order: number;
  readonly alpha: number;
  readonly pBest: number;
}

/**
 * Global rescoring with n-grams of the request's own tokens. Along each path,
 *   p(w | path) = (1 - c) p_lattice(w | path) + c p_prompt(w | path),
 * where p_lattice is the n-gram rescorer's score of the column's tokens, normalised over them, p_prompt what followed
 * the longest end of the path that occurred before, and c how far such a copy was to be trusted lately. Paths need not
 * stay in the lattice. Drafted are, of the likeliest paths, the p that add most to the expected accepted length.
 */
export function promptRescorer(
  spec: PromptParams,
  pack: NgramModel | null,
  prediction: ArrayLike<TokenId> | null,
): Rescorer {
  const model = spec.alpha === 0 ? null : (pack?.withOrder(spec.order) ?? null);
  assert(model !== null || spec.alpha === 0, "alpha > 0 needs a language model");
  const history = new History(model, new PromptModel(), null, prediction);
  const tree = new PathTree(new Continuations(history), mixture(spec.alpha));

  return {
    recall: (texts: readonly ArrayLike<TokenId>[]) => history.recall(texts),
    commit: (tokens: ArrayLike<TokenId>) => history.commit(tokens),
    draft(lattice: Lattice, maxNodes: number, scope?: DraftScope): DraftTree {
      assert(maxNodes >= 0, `node budget ${maxNodes}`);
      if (maxNodes === 0) return EMPTY_TREE;
      tree.begin(lattice, history, scope?.depth ?? lattice.heads);
      while (tree.count < LIMITS.draftNodes && tree.peek() > 0) tree.grow();
      return bestChains(tree, spec.pBest, maxNodes, () => CERTAIN);
    },
  };
}

function mixture(alpha: number): NextTokenModel {
  const probabilities = new Float64Array(CANDIDATES);
  return {
    probabilities,
    estimate(after) {
      const listedMass = after.inLattice ? 1 - exp(after.rest) : 0;
      let total = 0;
      for (let c = 0; c < after.count; c++) {
        if (after.ranks[c] === UNLISTED) continue;
        probabilities[c] = exp((1 - alpha) * after.heads[c]! + alpha * after.lm[c]!);
        total += probabilities[c]!;
      }
      const copied = after.trust;
      for (let c = 0; c < after.count; c++) {
        // What no head lists is the language model's to judge, in the mass that the head leaves.
        const p =
          after.ranks[c] === UNLISTED
            ? (1 - listedMass) * (after.model === null ? 0 : exp(after.lm[c]!))
            : (listedMass * probabilities[c]!) / total;
        const followed = after.seenAfter[c] === after.matched;
        const share = followed ? (after.seen[c]! / after.outOf[c]! + after.newest[c]!) / 2 : 0;
        probabilities[c] = (1 - copied) * p + copied * share;
      }
    },
  };
}
