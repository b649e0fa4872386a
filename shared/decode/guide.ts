import { CERTAIN, type DraftTree, SOURCES, treeOf } from "../draft-tree.ts";
import type { Place, TokenGrammar } from "../grammar/token-grammar.ts";
import { type NodeIndex, ROOT, type TokenId } from "../ids.ts";

/** How likely the model is to write as much of the text that has to follow in one token as it can, where it may write less or more. */
const EXPECTED = 0.85;

const GRAMMAR = SOURCES.indexOf("grammar");

/** What bounds a draft. */
export interface GuideScope {
  /** Nodes. */
  readonly maxNodes: number;
  /** Deepest useful node. */
  readonly depth: number;
  /** Least chance of a node worth adding, 0..1. */
  readonly floor: number;
}

export interface Guided {
  readonly draft: DraftTree;
  /** [nodes of the draft] which node of the tree that was guided each is, -1 for those that are none. */
  readonly origins: readonly number[];
}

/**
 * What drafts by a grammar: tokens that it forces are certain, those that it does not allow are left out. Text that has
 * to follow in some tokens or others is drafted in the longest.
 */
export class Guide {
  readonly #grammar: TokenGrammar;
  #place: Place;
  /** Forced tokens that were said to be committed before they were. */
  #told = 0;

  /** `answered`: the tokens of the answer so far. */
  constructor(grammar: TokenGrammar, answered: Iterable<TokenId>) {
    this.#grammar = grammar;
    this.#place = grammar.after(answered);
  }

  /** Returns those of the committed tokens that `lead` has not told of. */
  commit(tokens: readonly TokenId[]): readonly TokenId[] {
    this.#place = this.#grammar.after(tokens, this.#place);
    const known = Math.min(this.#told, tokens.length);
    this.#told -= known;
    return tokens.slice(known);
  }

  /** The tokens that have to come next, and those of them that were not told before: they are as good as committed. */
  lead({ maxNodes, depth }: GuideScope): { readonly tokens: readonly TokenId[]; readonly untold: readonly TokenId[] } {
    const tokens: TokenId[] = [];
    let place = this.#place;
    while (tokens.length < Math.min(maxNodes, depth)) {
      const token = this.#grammar.forced(place);
      if (token < 0) break;
      tokens.push(token);
      place = this.#grammar.next(place, token) ?? null;
    }
    const untold = tokens.slice(this.#told);
    this.#told = Math.max(this.#told, tokens.length);
    return { tokens, untold };
  }

  /** `tree`, which continues `lead`, by the grammar. */
  complete(lead: readonly TokenId[], tree: DraftTree, scope: GuideScope): Guided {
    const nodes = new Nodes(this.#grammar, scope);
    let at: NodeIndex = ROOT;
    let place = this.#place;
    for (const token of lead) {
      at = nodes.add(at, token, CERTAIN, -1);
      place = this.#grammar.next(place, token) ?? null;
    }
    nodes.copy(tree, at, place);
    nodes.extend(at, place);
    return nodes.guided();
  }
}

/** A draft as it grows. */
class Nodes {
  readonly #grammar: TokenGrammar;
  readonly #scope: GuideScope;
  readonly #tokens: TokenId[] = [];
  readonly #parents: NodeIndex[] = [];
  readonly #chances: number[] = [];
  readonly #depths: number[] = [];
  readonly #origins: number[] = [];
  readonly #sources: number[] = [];
  /** Places after the nodes that were copied. */
  readonly #places: [NodeIndex, Place][] = [];

  constructor(grammar: TokenGrammar, scope: GuideScope) {
    this.#grammar = grammar;
    this.#scope = scope;
  }

  /** `chance` in 255ths, at most the parent's; returns the node. */
  add(parent: NodeIndex, token: TokenId, chance: number, origin: number, source: number = GRAMMAR): NodeIndex {
    this.#tokens.push(token);
    this.#parents.push(parent);
    this.#chances.push(chance);
    this.#depths.push(parent === ROOT ? 1 : this.#depths[parent]! + 1);
    this.#origins.push(origin);
    this.#sources.push(source);
    return this.#tokens.length - 1;
  }

  /** The nodes that the grammar allows, below `root`: what the others were likely to be is shared out among them. */
  copy(tree: DraftTree, root: NodeIndex, place: Place): void {
    /** [nodes of tree] */
    const reached: ({ readonly node: NodeIndex; readonly place: Place } | undefined)[] = [];
    const shares = allowedShares(tree, (i) => {
      const from = tree.parents[i] === ROOT ? { node: root, place } : reached[tree.parents[i]!];
      if (from === undefined || from.place === null) return false;
      const forced = this.#grammar.forced(from.place);
      const next =
        forced >= 0 && forced !== tree.tokens[i] ? undefined : this.#grammar.next(from.place, tree.tokens[i]!);
      if (next === undefined) return false;
      reached[i] = { node: -2, place: next };
      return true;
    });
    for (const [i, share] of shares.entries()) {
      const parent = tree.parents[i] === ROOT ? root : (reached[tree.parents[i]!]?.node ?? -2);
      const { place: after } = reached[i] ?? {};
      if (share === 0 || parent === -2 || after === undefined || this.#full(parent)) continue;
      const before = tree.parents[i] === ROOT ? place : reached[tree.parents[i]!]!.place;
      const least = this.#grammar.expected(before) === tree.tokens[i] ? this.#leastShare(before) : 0;
      const chance = this.#chance(parent, Math.max(share, least));
      const node = this.add(parent, tree.tokens[i]!, chance, i, tree.sources?.[i] ?? 0);
      reached[i] = { node, place: after };
      this.#places.push([node, after]);
    }
  }

  /** Adds what has to follow `root` and the copied nodes, the likeliest first. */
  extend(root: NodeIndex, place: Place): void {
    const ends: [NodeIndex, Place][] = [[root, place], ...this.#places];
    const chanceOf = (node: NodeIndex) => (node === ROOT ? CERTAIN : this.#chances[node]!);
    ends.sort(([a], [b]) => chanceOf(b) - chanceOf(a) || a - b);
    for (const [node, after] of ends) this.#follow(node, after);
  }

  guided(): Guided {
    const sources = Uint8Array.from(this.#sources);
    const draft = treeOf(this.#tokens, this.#parents, Uint8Array.from(this.#chances), sources);
    return { draft, origins: this.#origins };
  }

  #follow(from: NodeIndex, place: Place): void {
    let at = from;
    for (let after = place; after !== null; ) {
      const token = this.#grammar.expected(after);
      if (token < 0 || this.#full(at) || this.#hasChild(at, token)) return;
      const chance = this.#chance(at, this.#leastShare(after));
      if (chance < this.#scope.floor * CERTAIN) return;
      at = this.add(at, token, chance, -1);
      after = this.#grammar.next(after, token) ?? null;
    }
  }

  /** How likely the expected token is at least. */
  #leastShare(place: Place): number {
    return this.#grammar.forced(place) >= 0 ? 1 : EXPECTED;
  }

  #chance(parent: NodeIndex, share: number): number {
    return Math.round((parent === ROOT ? CERTAIN : this.#chances[parent]!) * Math.min(1, share));
  }

  #full(parent: NodeIndex): boolean {
    const depth = parent === ROOT ? 0 : this.#depths[parent]!;
    return this.#tokens.length >= this.#scope.maxNodes || depth >= this.#scope.depth;
  }

  #hasChild(parent: NodeIndex, token: TokenId): boolean {
    return this.#parents.some((one, i) => one === parent && this.#tokens[i] === token);
  }
}

/** [nodes] the probability of each relative to its parent, among those allowed; 0 for the others. */
function allowedShares({ parents, chances }: DraftTree, allows: (node: NodeIndex) => boolean): Float64Array {
  const shares = Float64Array.from(parents, (parent, i) => {
    const above = parent === ROOT ? CERTAIN : chances[parent]!;
    return above === 0 ? 0 : chances[i]! / above;
  });
  const lost = new Float64Array(parents.length + 1);
  const allowed = Uint8Array.from(parents, (_, i) => Number(allows(i)));
  for (const [i, parent] of parents.entries()) if (allowed[i] === 0) lost[parent + 1]! += shares[i]!;
  return shares.map((share, i) =>
    allowed[i] === 0 ? 0 : Math.min(1, share / Math.max(share, 1 - lost[parents[i]! + 1]!)),
  );
}
