import * as z from "zod";
import { assert } from "../assert.ts";
import type { DraftTree } from "../draft-tree.ts";
import type { TokenId } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { EMPTY_STATE, type NgramModel } from "../ngram/model.ts";
import type { RescorerModule } from "./module.ts";
import { draftOfPaths, PathSearch } from "./p-best.ts";
import { PARAMS } from "./params.ts";
import { promptRescorer } from "./prompt.ts";
import type { Rescorer } from "./rescorer.ts";

const paramsSchema = z.object({
  /** A pack of lower order serves with its own. */
  order: PARAMS.order,
  /** Weight of the language model in a path's score. */
  alpha: PARAMS.alpha,
  /** Default false. */
  prompt: PARAMS.prompt.optional(),
  pBest: PARAMS.pBest,
});

export type NgramParams = z.infer<typeof paramsSchema>;

export const ngramModule: RescorerModule<NgramParams> = {
  type: "ngram",
  title: "n-gram",
  summary: "the best paths under an n-gram model",
  paramsSchema,
  usesPack: true,
  calibrated: false,
  needs: () => null,
  defaults({ defaults: { rescorer } }) {
    const { order, alpha, pBest, prompt = false } = rescorer;
    return { order, alpha, pBest, prompt };
  },
  mostNodes({ prompt, pBest }, heads, free) {
    // A copy of the prompt may go on beyond the heads.
    return prompt && free ? LIMITS.draftNodes : Math.min(heads * pBest, LIMITS.draftNodes);
  },
  create(params, { pack, prediction }) {
    return params.prompt ? promptRescorer(params, pack, prediction) : latticeRescorer(params, pack);
  },
};

/**
 * Global rescoring: the exact p best lattice paths under
 *   score(path) = sum_i (1 - alpha) log p_head_i(w_i) + alpha log p_lm(w_i | history),
 * whose history crosses from the committed tokens into the path, merged into one prefix tree.
 * Source: Kim et al. 2024 (arXiv 2404.09221), section on n-gram rescoring; here without an FST library.
 *
 * Only columns that fit the node budget as one chain are searched: with maxNodes below the number of heads the
 * draft is best over the columns that can be verified, not the head of the best longer path.
 */
function latticeRescorer(spec: NgramParams, pack: NgramModel | null): Rescorer {
  const model = pack?.withOrder(spec.order) ?? null;
  const search = new PathSearch(model, spec.alpha);
  let state = EMPTY_STATE;

  return {
    commit(tokens: ArrayLike<TokenId>): void {
      if (model !== null && spec.alpha !== 0) state = model.after(state, tokens);
    },

    draft(lattice: Lattice, maxNodes: number): DraftTree {
      assert(maxNodes >= 0, `node budget ${maxNodes}`);
      const columns = Math.min(lattice.heads, maxNodes);
      search.run(lattice, columns, state, spec.pBest);
      return draftOfPaths(search, lattice, columns, maxNodes);
    },
  };
}
