import {
  CERTAIN,
  chanceOf,
  type DraftTree,
  EMPTY_TREE,
  findChild,
  prune,
  SOURCES,
  treeFault,
  treeOf,
} from "../draft-tree.ts";
import { type NodeIndex, ROOT, type TokenId } from "../ids.ts";
import { LIMITS } from "../limits.ts";
import type { Block } from "./block.ts";
import { blend } from "./placement.ts";

/** Of hinted nodes: hints are made without a lattice. */
const HINTED = SOURCES.indexOf("prompt");

/** Candidate continuations of a text that is drafted elsewhere, from what only the sender knows. */
export interface Hint {
  /** Committed tokens, prompt and completion, that the tree continues. */
  readonly anchor: number;
  /** With how likely its nodes are, as far as the sender can tell. */
  readonly tree: DraftTree;
}

/**
 * Hints as they come, at the side that drafts: the newest one that still fits what has been committed. None is waited
 * for; one that is late is cut to what is left of it, or dropped, as one is that is no tree or anchored in the future.
 */
export class Hints {
  readonly #vocabSize: number;
  /** The newest committed tokens, as many as a hint may be deep, and how many there are in all. */
  #tail: TokenId[] = [];
  #length = 0;
  #tree: DraftTree = EMPTY_TREE;

  constructor(vocabSize: number) {
    this.#vocabSize = vocabSize;
  }

  commit(tokens: ArrayLike<TokenId>): void {
    this.#length += tokens.length;
    this.#tail = [...this.#tail, ...Array.from(tokens)].slice(-LIMITS.draftNodes);
    this.#tree = after(this.#tree, Array.from(tokens));
  }

  offer({ anchor, tree }: Hint): void {
    const late = this.#length - anchor;
    if (late < 0 || late > this.#tail.length || treeFault(tree, this.#vocabSize) !== null) return;
    const left = after(tree, late === 0 ? [] : this.#tail.slice(-late));
    if (left.tokens.length > 0) this.#tree = left;
  }

  /** The draft with the hinted nodes that belong into it: the likeliest `maxNodes` of both, at most `depth` deep. */
  merge(draft: DraftTree, maxNodes: number, depth: number): DraftTree {
    return this.#tree.tokens.length === 0 ? draft : union(draft, this.#tree, maxNodes, depth);
  }
}

/** What is left of a tree once `tokens` were committed, its chances given those; empty where they are not its path. */
function after(tree: DraftTree, tokens: readonly TokenId[]): DraftTree {
  if (tokens.length === 0 || tree.tokens.length === 0) return tree;
  const root = tokens.reduce((node, token) => (node < ROOT ? node : findChild(tree, node, token)), ROOT);
  if (root < ROOT) return EMPTY_TREE;
  const given = Math.max(1, tree.chances[root]!);
  const place = new Map<NodeIndex, NodeIndex>([[root, ROOT]]);
  const nodes: NodeIndex[] = [];
  for (let node = root + 1; node < tree.tokens.length; node++) {
    if (!place.has(tree.parents[node]!)) continue;
    place.set(node, nodes.length);
    nodes.push(node);
  }
  return treeOf(
    nodes.map((node) => tree.tokens[node]!),
    nodes.map((node) => place.get(tree.parents[node]!)!),
    Uint8Array.from(nodes, (node) => chanceOf(tree.chances[node]! / given)),
  );
}

/** Both trees as one. A node of both is as likely as the one that knows more of it says. */
function union(draft: DraftTree, hint: DraftTree, maxNodes: number, depth: number): DraftTree {
  const tokens = [...draft.tokens];
  const parents = [...draft.parents];
  const chances = [...draft.chances];
  const sources = [...(draft.sources ?? new Uint8Array(tokens.length))];
  /** [hint's nodes] each one's place in the union and its depth; ROOT - 1: too deep. */
  const place: NodeIndex[] = [];
  const depths: number[] = [];
  for (let node = 0; node < hint.tokens.length; node++) {
    const before = hint.parents[node]!;
    const parent = before === ROOT ? ROOT : place[before]!;
    depths.push(before === ROOT ? 1 : depths[before]! + 1);
    if (parent < ROOT || depths[node]! > depth) {
      place.push(ROOT - 1);
      continue;
    }
    const known = tokens.findIndex((token, i) => token === hint.tokens[node] && parents[i] === parent);
    const most = parent === ROOT ? CERTAIN : chances[parent]!;
    place.push(known < 0 ? tokens.length : known);
    if (known >= 0) chances[known] = Math.max(chances[known]!, Math.min(most, hint.chances[node]!));
    else {
      tokens.push(hint.tokens[node]!);
      parents.push(parent);
      chances.push(Math.min(most, hint.chances[node]!));
      sources.push(HINTED);
    }
  }
  return likeliest(treeOf(tokens, parents, Uint8Array.from(chances), Uint8Array.from(sources)), maxNodes);
}

/** The tree's `most` likeliest nodes, in their order; of those equally likely the earlier ones, so that parents are kept. */
function likeliest(tree: DraftTree, most: number): DraftTree {
  const count = tree.tokens.length;
  if (count <= most) return tree;
  const order = Array.from({ length: count }, (_, node) => node);
  order.sort((a, b) => tree.chances[b]! - tree.chances[a]! || a - b);
  const kept = new Set(order.slice(0, most));
  const marks = Uint8Array.from({ length: count }, (_, node) => (kept.has(node) ? 1 : 0));
  const { draft, nodes } = prune({ ...tree, chances: marks }, 1);
  return treeOf(
    draft.tokens,
    draft.parents,
    Uint8Array.from(nodes, (node) => tree.chances[node]!),
    draft.sources,
  );
}

/** Steps over the same stretch of text. */
export interface Steps {
  /** Made by the side that drafts, with the hints that reached it in time. */
  readonly made: number;
  /** Needed with the hint in time and drafts of the usual size. */
  readonly needed: number;
}

/**
 * What a draft made where hints come from would gain: a hint is compared with what was committed from its anchor on, as
 * if it had been there in time. One hint at a time, until the text has left it.
 */
export class HintGain {
  #tree: DraftTree = EMPTY_TREE;
  #at: NodeIndex = ROOT;
  #matched = 0;
  #made = 0;
  /** Nodes verified in a step lately: more may not pay. */
  #drafted: number | null = null;

  /** A hint anchored at what has been told so far. */
  hinted(tree: DraftTree): void {
    if (this.#tree.tokens.length > 0 || tree.tokens.length === 0) return;
    this.#tree = tree;
    this.#at = ROOT;
    this.#matched = 0;
    this.#made = 0;
  }

  /** Told every block; null while the text follows a hint, or there is none. */
  follow({ committed, drafted }: Block): Steps | null {
    this.#drafted = blend(this.#drafted, drafted);
    if (this.#tree.tokens.length === 0) return null;
    this.#made++;
    for (const { token } of committed) {
      this.#at = findChild(this.#tree, this.#at, token);
      if (this.#at >= ROOT) {
        this.#matched++;
        continue;
      }
      this.#tree = EMPTY_TREE;
      return { made: this.#made, needed: Math.ceil((this.#matched + 1) / (this.#drafted + 1)) };
    }
    return null;
  }
}
