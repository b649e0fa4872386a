import { type NodeIndex, ROOT, type TokenId } from "./ids.ts";
import { LIMITS } from "./limits.ts";

/** A chance of 1: a node that is verified whenever there is room, whatever it costs. */
export const CERTAIN = 255;

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
  /** [nodes] how likely each is to be accepted, in 255ths: at most its parent's. The engine verifies what pays. */
  readonly chances: Uint8Array;
  /** [nodes] who proposed each, as an index of SOURCES; left out: the lattice. Said to who asks, not to the engine. */
  readonly sources?: Uint8Array | undefined;
}

/**
 * A head; n-grams of the prompt, the answer and earlier texts; what the model had thought of before; what the answer's
 * grammar leaves to follow.
 */
export const SOURCES = ["lattice", "prompt", "recycled", "grammar"] as const;
export type Source = (typeof SOURCES)[number];

export const EMPTY_TREE: DraftTree = treeOf([], []);

/** A tree, by default of nodes that insist on being verified. */
export function treeOf(
  tokens: ArrayLike<TokenId>,
  parents: ArrayLike<NodeIndex>,
  chances?: Uint8Array,
  sources?: Uint8Array,
): DraftTree {
  return {
    tokens: Uint32Array.from(tokens),
    parents: Int16Array.from(parents),
    chances: chances ?? new Uint8Array(tokens.length).fill(CERTAIN),
    ...(sources === undefined ? {} : { sources }),
  };
}

/** A chain: each token continues the one before it. */
export function chain(tokens: ArrayLike<TokenId>, chances?: Uint8Array): DraftTree {
  return treeOf(
    tokens,
    Int16Array.from(tokens, (_, i) => i - 1),
    chances,
  );
}

/** A probability in 255ths. */
export function chanceOf(probability: number): number {
  return Math.round(Math.min(1, Math.max(0, probability)) * CERTAIN);
}

/** A tree without its unlikelier nodes. */
export interface Pruned {
  readonly draft: DraftTree;
  /** [nodes of draft] what each is in the whole tree. */
  readonly nodes: readonly NodeIndex[];
}

/** The nodes whose chance is at least `threshold`; their ancestors are among them. */
export function prune(draft: DraftTree, threshold: number): Pruned {
  const nodes = [...draft.tokens.keys()].filter((node) => draft.chances[node]! >= threshold);
  if (nodes.length === draft.tokens.length) return { draft, nodes };
  const place = new Int16Array(draft.tokens.length);
  nodes.forEach((node, i) => {
    place[node] = i;
  });
  const pruned = treeOf(
    nodes.map((node) => draft.tokens[node]!),
    nodes.map((node) => (draft.parents[node] === ROOT ? ROOT : place[draft.parents[node]!]!)),
    Uint8Array.from(nodes, (node) => draft.chances[node]!),
    draft.sources && Uint8Array.from(nodes, (node) => draft.sources![node]!),
  );
  return { draft: pruned, nodes };
}

/** Why `tree` is malformed, or null. Both ends of the wire check this. */
export function treeFault(tree: DraftTree, vocabSize: number): string | null {
  const nodes = tree.tokens.length;
  if (tree.parents.length !== nodes) return `${nodes} tokens but ${tree.parents.length} parents`;
  if (tree.chances.length !== nodes) return `${nodes} tokens but ${tree.chances.length} chances`;
  if (nodes > LIMITS.draftNodes) return `${nodes} nodes, at most ${LIMITS.draftNodes}`;
  const seen = new Set<number>();
  for (let i = 0; i < nodes; i++) {
    const token = tree.tokens[i]!;
    const parent = tree.parents[i]!;
    if (token >= vocabSize) return `node ${i}: token ${token} outside the vocabulary of ${vocabSize}`;
    if (parent < ROOT || parent >= i) return `node ${i}: parent ${parent} does not precede it`;
    if (parent !== ROOT && tree.chances[i]! > tree.chances[parent]!) return `node ${i}: likelier than its parent`;
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
  return treeOf(tokens, parents);
}
