import * as z from "zod";
import { assert } from "../assert.ts";
import { chanceOf, type DraftTree, EMPTY_TREE, treeOf } from "../draft-tree.ts";
import type { TokenId } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { PromptModel } from "../ngram/prompt.ts";
import type { RunnersUp } from "../runners-up.ts";
import { AcceptanceModel, evidenceOf } from "./calibration.ts";
import { bestChains, lengthenBest } from "./chains.ts";
import { Continuations } from "./continuations.ts";
import { History } from "./history.ts";
import { pairLack, type RescorerModule, type RescorerParts } from "./module.ts";
import { PairScores } from "./pair-scores.ts";
import { PARAMS } from "./params.ts";
import { PathTree } from "./path-tree.ts";
import { Recycled } from "./recycled.ts";
import type { DraftScope, Rescorer } from "./rescorer.ts";

export const treeParams = z.object({
  order: PARAMS.order,
  /** 0 leaves the language model out; otherwise its weight is the calibration's. */
  alpha: PARAMS.alpha,
  prompt: PARAMS.prompt,
  /** Default false. */
  recycled: PARAMS.recycled.optional(),
  /** Default false. */
  pair: PARAMS.pair.optional(),
});

export type TreeParams = z.infer<typeof treeParams>;

export const treeModule: RescorerModule<TreeParams> = {
  type: "tree",
  title: "tree",
  summary: "a tree of the most promising nodes, as many as pay",
  paramsSchema: treeParams,
  usesPack: true,
  calibrated: true,
  needs: ({ calibration }) => (calibration == null ? "calibration, which 'tree' needs" : null),
  defaults(bundle) {
    const { order, alpha, prompt = false, recycled = false, pair = true } = bundle.defaults.rescorer;
    const usual = { order, alpha, prompt, recycled };
    return { ...usual, pair: pair && pairLack(bundle, usual) === null };
  },
  mostNodes: () => LIMITS.draftNodes,
  engine: ({ recycled = false, pair = false }) => ({ runnersUp: recycled ? LIMITS.runnersUp : 0, pair }),
  create: (params, parts) => calibratedRescorer(params, parts, null),
};

/** Nodes that each path to be drafted is chosen among. */
const CHOICE = 16;
/** Nodes less likely than this never pay. */
const LEAST_CHANCE = 1 / 255;

/**
 * The draft tree with the highest expected accepted length, under calibrated probabilities from heads, n-gram model
 * (unless alpha is 0), the prompt's n-grams, recycled tokens and pairs: of all nodes that are likely enough, but not more than a given number.
 * With `chains`, so many of the paths through these nodes: those that add most to it.
 */
export function calibratedRescorer(
  spec: TreeParams,
  { pack, calibration, pair: tables, prediction }: RescorerParts,
  chains: number | null,
): Rescorer {
  assert(calibration !== null, "it needs a calibration");
  const model = spec.alpha === 0 ? null : (pack?.withOrder(spec.order) ?? null);
  assert(model !== null || spec.alpha === 0, "alpha > 0 needs a language model");
  const { prompt, recycled = false, pair = false } = spec;
  const scores = pair && tables !== null ? new PairScores(tables) : null;
  assert(scores !== null || !pair, "pair needs tables");
  const history = new History(
    model,
    prompt ? new PromptModel() : null,
    recycled ? new Recycled() : null,
    prediction,
    scores,
  );
  const evidence = evidenceOf({ lm: model !== null, prompt, recycled, pair });
  const weights = calibration.weights[evidence];
  assert(weights !== undefined, `calibration for ${evidence}`);
  const tree = new PathTree(new Continuations(history), new AcceptanceModel(weights));

  return {
    calibrated: true,
    recall: (texts: readonly ArrayLike<TokenId>[]) => history.recall(texts),
    commit: (tokens: ArrayLike<TokenId>, runnersUp?: RunnersUp) => history.commit(tokens, runnersUp),
    draft(lattice: Lattice, maxNodes: number, scope?: DraftScope): DraftTree {
      assert(maxNodes >= 0, `node budget ${maxNodes}`);
      const limit = Math.min(maxNodes, LIMITS.draftNodes);
      if (limit === 0) return EMPTY_TREE;
      tree.begin(lattice, history, scope?.depth ?? lattice.heads);
      const floor = Math.max(scope?.floor ?? 0, Number.MIN_VALUE);
      const most = chains === null ? limit : Math.min(CHOICE * chains, LIMITS.draftNodes);
      while (tree.count < most && tree.peek() >= floor) tree.grow();
      if (chains !== null) {
        lengthenBest(tree, Math.max(floor, LEAST_CHANCE));
        return bestChains(tree, chains, limit, chanceOf);
      }
      const { count } = tree;
      const chances = Uint8Array.from(tree.probabilities.subarray(0, count), chanceOf);
      const sources = tree.sources.slice(0, count);
      return treeOf(tree.tokens.subarray(0, count), tree.parents.subarray(0, count), chances, sources);
    },
  };
}
