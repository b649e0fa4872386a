import { type NodeIndex, ROOT, type TokenId } from "./ids.ts";
import { LIMITS } from "./limits.ts";

/**
 * Drafted tokens to verify in one pass. Node i proposes `tokens[i]` after `parents[i]`: an earlier
 * node, or ROOT (-1) for the last committed token, which is not part of the tree. A chain is the
 * simplest tree. Siblings hold different tokens.
 */
export interface DraftTree {
  /** [nodes] */
  readonly tokens: Uint32Array;
  /** [nodes], each ROOT or less than its own index. */
  readonly parents: Int16Array;
}

export const EMPTY_TREE: DraftTree = { tokens: new Uint32Array(0), parents: new Int16Array(0) };

/** A chain: each token continues the one before it. */
export function chain(tokens: ArrayLike<TokenId>): DraftTree {
  return { tokens: Uint32Array.from(tokens), parents: Int16Array.from(tokens, (_, i) => i - 1) };
}

/** Why `tree` is malformed, or null. Both ends of the wire check this. */
export function treeFault(tree: DraftTree, vocabSize: number): string | null {
  const nodes = tree.tokens.length;
  if (tree.parents.length !== nodes) return `${nodes} tokens but ${tree.parents.length} parents`;
  if (nodes > LIMITS.draftNodes) return `${nodes} nodes, at most ${LIMITS.draftNodes}`;
  const seen = new Set<number>();
  for (let i = 0; i < nodes; i++) {
    const token = tree.tokens[i]!;
    const parent = tree.parents[i]!;
    if (token >= vocabSize) return `node ${i}: token ${token} outside the vocabulary of ${vocabSize}`;
    if (parent < ROOT || parent >= i) return `node ${i}: parent ${parent} does not precede it`;
    const edge = (parent + 1) * vocabSize + token;
    if (seen.has(edge)) return `node ${i}: repeats a sibling's token ${token}`;
    seen.add(edge);
  }
  return null;
}

/** [nodes]; a child of the root has depth 1. Position of node i = root position + depth. */
export function depths(tree: DraftTree): Uint8Array {
  const out = new Uint8Array(tree.tokens.length);
  for (let i = 0; i < out.length; i++) {
    const parent = tree.parents[i]!;
    out[i] = parent === ROOT ? 1 : out[parent]! + 1;
  }
  return out;
}

/** The child of `parent` holding `token`, or -2 where there is none. */
export function findChild(tree: DraftTree, parent: NodeIndex, token: TokenId): NodeIndex {
  for (let i = parent + 1; i < tree.tokens.length; i++) {
    if (tree.parents[i] === parent && tree.tokens[i] === token) return i;
  }
  return -2;
}

/** Merges paths (each from the root) into one prefix tree of at most `budget` nodes, in path order. */
export function mergePaths(paths: Iterable<ArrayLike<TokenId>>, budget: number = LIMITS.draftNodes): DraftTree {
  const tokens: number[] = [];
  const parents: number[] = [];
  for (const path of paths) {
    let at: NodeIndex = ROOT;
    for (let i = 0; i < path.length; i++) {
      // A tree is small: looking through the nodes after the parent is quicker than a table of edges.
      let next = at + 1;
      while (next < tokens.length && (parents[next] !== at || tokens[next] !== path[i])) next++;
      if (next === tokens.length) {
        if (next >= budget) break;
        tokens.push(path[i]!);
        parents.push(at);
      }
      at = next;
    }
  }
  return { tokens: Uint32Array.from(tokens), parents: Int16Array.from(parents) };
}
