import { CERTAIN, type DraftTree, treeOf } from "../../shared/draft-tree.ts";
import { ROOT } from "../../shared/ids.ts";
import type { Random } from "./random.ts";

/** Every well-formed draft tree of up to `maxNodes` nodes over tokens 0..vocabSize - 1. */
export function* everyTree(maxNodes: number, vocabSize: number): Generator<DraftTree> {
  yield* extend([], [], maxNodes, vocabSize);
}

function* extend(tokens: number[], parents: number[], maxNodes: number, vocabSize: number): Generator<DraftTree> {
  yield treeOf(tokens, parents);
  if (tokens.length === maxNodes) return;
  for (let parent = ROOT; parent < tokens.length; parent++) {
    for (let token = 0; token < vocabSize; token++) {
      if (tokens.some((t, i) => t === token && parents[i] === parent)) continue;
      yield* extend([...tokens, token], [...parents, parent], maxNodes, vocabSize);
    }
  }
}

/** A well-formed tree of at most `maxNodes` nodes. */
export function randomTree(random: Random, maxNodes: number, vocabSize: number): DraftTree {
  const tokens: number[] = [];
  const parents: number[] = [];
  const nodes = random.int(0, maxNodes);
  for (let i = 0; i < nodes; i++) {
    const parent = random.int(ROOT, tokens.length - 1);
    const token = random.int(0, vocabSize - 1);
    if (tokens.some((t, j) => t === token && parents[j] === parent)) continue;
    tokens.push(token);
    parents.push(parent);
  }
  return treeOf(tokens, parents);
}

/** The same nodes with chances that fall along every path; some insist, some are hopeless. */
export function withChances(random: Random, { tokens, parents }: DraftTree): DraftTree {
  const chances = new Uint8Array(tokens.length);
  for (let node = 0; node < chances.length; node++) {
    const parent = parents[node]!;
    const most = parent === ROOT ? CERTAIN : chances[parent]!;
    chances[node] = random.pick([most, random.int(0, most), random.int(0, most), 0]);
  }
  return treeOf(tokens, parents, chances);
}

/** The tokens from the root down to `node`, the node included: found by walking up, one parent at a time. */
export function pathTo(tree: DraftTree, node: number): number[] {
  const path: number[] = [];
  for (let at = node; at !== ROOT; at = tree.parents[at]!) path.unshift(tree.tokens[at]!);
  return path;
}
