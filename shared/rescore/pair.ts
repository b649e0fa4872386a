import * as z from "zod";
import { assert } from "../assert.ts";
import type { DraftTree } from "../draft-tree.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import type { RescorerModule } from "./module.ts";
import { draftOfPaths } from "./p-best.ts";
import { PairScores } from "./pair-scores.ts";
import { PairSearch } from "./pair-search.ts";
import { PARAMS } from "./params.ts";

const paramsSchema = z.object({
  /** Weight of the pairs' scores; 0 leaves them out. */
  alpha: PARAMS.alpha,
  pBest: PARAMS.pBest,
});

/** The scores were learned to be added whole, but by themselves they know nothing of copies, which they would demote. */
const USUAL_ALPHA = 0.2;

/**
 * The p best lattice paths under what the heads say of each candidate and the model's hidden state of each pair of
 * neighbours: sum_i log p_head_i(w_i) + alpha S(w_(i-1), w_i), S as in PairScores and 0 for the bonus token, which the
 * heads have read.
 */
export const pairModule: RescorerModule<z.infer<typeof paramsSchema>> = {
  type: "pair",
  title: "pair",
  summary: "the best paths by how well neighbours fit together, as the hidden state has it",
  paramsSchema,
  usesPack: false,
  calibrated: false,
  needs: ({ graphs }) => (graphs.pair == null ? "table of pairs, which 'pair' needs" : null),
  defaults: () => ({ alpha: USUAL_ALPHA, pBest: 1 }),
  mostNodes: ({ pBest }, heads) => Math.min(heads * pBest, LIMITS.draftNodes),
  engine: ({ alpha }) => ({ pair: alpha !== 0 }),
  create({ alpha, pBest }, { pair }) {
    const search = new PairSearch(pair === null ? null : new PairScores(pair), alpha);
    return {
      commit() {},
      draft(lattice: Lattice, maxNodes: number): DraftTree {
        assert(maxNodes >= 0, `node budget ${maxNodes}`);
        // As for n-grams, only columns that can be verified as one chain.
        const columns = Math.min(lattice.heads, maxNodes);
        search.run(lattice, columns, pBest);
        return draftOfPaths(search, lattice, columns, maxNodes);
      },
    };
  },
};
