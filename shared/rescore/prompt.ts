import { assert } from "../assert.ts";
import { type DraftTree, EMPTY_TREE, treeOf } from "../draft-tree.ts";
import { type NodeIndex, ROOT, type TokenId } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import type { NgramModel } from "../ngram/model.ts";
import { PromptModel } from "../ngram/prompt.ts";
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
      return bestChains(tree, spec.pBest, maxNodes);
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

/**
 * Cuts the tree into chains, each from a node down through the child of most expected accepted tokens, and keeps the
 * `chains` worth most, best first, in at most `maxNodes` nodes. A chain is worth less than the one it branches off.
 */
function bestChains(tree: PathTree, chains: number, maxNodes: number): DraftTree {
  const { count } = tree;
  /** [count] expected accepted tokens of the chain from each node down, and its next node */
  const worth = tree.probabilities.slice(0, count);
  const next = new Int16Array(count).fill(ROOT);
  const heads: NodeIndex[] = [];
  // Children have higher numbers than their parents; on a tie the earlier child continues the chain.
  for (let node = count - 1; node >= 0; node--) {
    const parent = tree.parents[node]!;
    const best = parent === ROOT ? ROOT : next[parent]!;
    if (next[node] !== ROOT) worth[node]! += worth[next[node]!]!;
    if (parent !== ROOT && (best === ROOT || worth[node]! >= worth[best]!)) next[parent] = node;
  }
  for (let node = 0; node < count; node++) {
    const parent = tree.parents[node]!;
    if (parent === ROOT || next[parent] !== node) heads.push(node);
  }
  heads.sort((a, b) => worth[b]! - worth[a]! || a - b);
  const order: NodeIndex[] = [];
  for (const head of heads.slice(0, chains)) {
    for (let node = head; node !== ROOT && order.length < maxNodes; node = next[node]!) order.push(node);
  }
  const place = new Int16Array(count);
  order.forEach((node, i) => {
    place[node] = i;
  });
  return treeOf(
    order.map((node) => tree.tokens[node]!),
    order.map((node) => (tree.parents[node] === ROOT ? ROOT : place[tree.parents[node]!]!)),
    undefined,
    Uint8Array.from(order, (node) => tree.sources[node]!),
  );
}
