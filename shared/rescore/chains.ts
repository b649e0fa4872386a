import { type DraftTree, treeOf } from "../draft-tree.ts";
import { type NodeIndex, ROOT } from "../ids.ts";
import type { PathTree } from "./path-tree.ts";

/**
 * Cuts the tree into chains, each from a node down through the child of most expected accepted tokens, and keeps the
 * `chains` worth most, best first, in at most `maxNodes` nodes. A chain is worth less than the one it branches off.
 * @param chance DraftTree.chances of a node, by its probability
 */
export function bestChains(
  tree: PathTree,
  chains: number,
  maxNodes: number,
  chance: (probability: number) => number,
): DraftTree {
  const { heads, next } = chainsOf(tree);
  const order: NodeIndex[] = [];
  for (const head of heads.slice(0, chains)) {
    for (let node = head; node !== ROOT && order.length < maxNodes; node = next[node]!) order.push(node);
  }
  const place = new Int16Array(tree.count);
  order.forEach((node, i) => {
    place[node] = i;
  });
  return treeOf(
    order.map((node) => tree.tokens[node]!),
    order.map((node) => (tree.parents[node] === ROOT ? ROOT : place[tree.parents[node]!]!)),
    Uint8Array.from(order, (node) => chance(tree.probabilities[node]!)),
    Uint8Array.from(order, (node) => tree.sources[node]!),
  );
}

/** Goes on with the chain worth most, beyond where the tree was grown, by the likeliest token each time, while that is at least `least` likely. */
export function lengthenBest(tree: PathTree, least: number): void {
  const { heads, next } = chainsOf(tree);
  let end = heads[0] ?? ROOT;
  if (end === ROOT) return;
  while (next[end] !== ROOT) end = next[end]!;
  while (end !== ROOT) end = tree.lengthen(end, least);
}

/** The first node of every chain, those of most expected accepted tokens first, and [count] each node's next. */
function chainsOf(tree: PathTree) {
  const { count } = tree;
  /** [count] expected accepted tokens of the chain from each node down */
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
  return { heads, next };
}
