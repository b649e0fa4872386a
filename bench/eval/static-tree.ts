import { type DraftTree, treeOf } from "../../shared/draft-tree.ts";
import { type NodeIndex, ROOT, type TokenId } from "../../shared/ids.ts";
import type { Lattice } from "../../shared/lattice.ts";
import { RECYCLED, Recycled } from "../../shared/rescore/recycled.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";
import { NO_RUNNERS_UP, rowsOf } from "../../shared/runners-up.ts";
import type { Generation } from "./trace.ts";

/** How often the candidate of each rank was the token that the model wrote, 0..1: all that a fixed tree is shaped by. */
export interface RankShares {
  /** [lattice row][column] */
  readonly heads: readonly (readonly number[])[];
  /** [rank] of what last followed the same words (Recycled): the committed token, then its runners-up. */
  readonly recycled: readonly number[];
}

/** The shape of a draft: node i is the candidate of rank `ranks[i]` at its depth, after `parents[i]`. */
export interface StaticTree {
  /** [nodes], each ROOT or less than its own index. */
  readonly parents: readonly NodeIndex[];
  /** [nodes] from 1 on. */
  readonly depths: readonly number[];
  /** [nodes] */
  readonly ranks: readonly number[];
}

/** Counted over greedy completions of one lattice shape. */
export function rankShares(generations: readonly Generation[]): RankShares {
  return { heads: headShares(generations), recycled: recycledShares(generations) };
}

function headShares(generations: readonly Generation[]): number[][] {
  const { heads = 0, k = 0 } = generations[0]?.lattices[0] ?? {};
  const hits = Array.from({ length: heads }, () => new Array<number>(k).fill(0));
  const seen = new Array<number>(heads).fill(0);
  for (const { output, lattices } of generations) {
    for (const [i, lattice] of lattices.entries()) {
      for (let row = 0; row < heads && i + 1 + row < output.length; row++) {
        seen[row]!++;
        const column = lattice.tokens.subarray(row * k, (row + 1) * k).indexOf(output[i + 1 + row]!);
        if (column >= 0) hits[row]![column]!++;
      }
    }
  }
  return hits.map((row, i) => row.map((count) => count / Math.max(1, seen[i]!)));
}

function recycledShares(generations: readonly Generation[]): number[] {
  const hits = new Array<number>(RECYCLED).fill(0);
  let seen = 0;
  for (const { prompt, output, runnersUp } of generations) {
    const recycled = new Recycled();
    recycled.commit(prompt, NO_RUNNERS_UP);
    let [before, last] = [prompt.at(-2) ?? 0, prompt.at(-1)!];
    for (const [i, token] of output.entries()) {
      const rank = recycled.find(before, last) ? rowOf(recycled).indexOf(token) : -1;
      if (rank >= 0) hits[rank]!++;
      seen++;
      recycled.commit([token], rowsOf(runnersUp, i, i + 1));
      [before, last] = [last, token];
    }
  }
  return hits.map((count) => count / Math.max(1, seen));
}

function rowOf({ tokens, at, count }: Recycled): Uint32Array {
  return tokens.subarray(at, at + count);
}

/**
 * The tree of `nodes` nodes that would be accepted the furthest, as Medusa's fixed trees are chosen (Cai et al. 2024):
 * node by node the likeliest one, its chance being the product of its ranks' shares on the way from the root.
 * @param shares [depth - 1][rank]
 */
export function growStaticTree(shares: readonly (readonly number[])[], nodes: number): StaticTree {
  const tree = { parents: [] as NodeIndex[], depths: [] as number[], ranks: [] as number[] };
  const open: { parent: NodeIndex; depth: number; rank: number; chance: number }[] = [];
  const expand = (parent: NodeIndex, depth: number, chance: number) => {
    for (const [rank, share] of (shares[depth - 1] ?? []).entries())
      open.push({ parent, depth, rank, chance: chance * share });
  };
  expand(ROOT, 1, 1);
  while (tree.parents.length < nodes && open.length > 0) {
    // The earliest of the likeliest ones.
    const best = open.reduce((most, node, i) => (node.chance > open[most]!.chance ? i : most), 0);
    const [{ parent, depth, rank, chance }] = open.splice(best, 1) as [(typeof open)[number]];
    expand(tree.parents.length, depth + 1, chance);
    tree.parents.push(parent);
    tree.depths.push(depth);
    tree.ranks.push(rank);
  }
  return tree;
}

/** The first nodes of `tree` filled with tokens, those left out that have none or follow one that has none. */
function fill(
  tree: StaticTree,
  maxNodes: number,
  tokenAt: (node: number, parent: NodeIndex, chosen: readonly TokenId[]) => TokenId | null,
): DraftTree {
  const tokens: TokenId[] = [];
  const parents: NodeIndex[] = [];
  /** [nodes of tree] their places in the draft, -2 for none; and their tokens. */
  const places: number[] = [];
  const chosen: TokenId[] = [];
  for (const [node, parent] of tree.parents.entries()) {
    const place = parent === ROOT ? ROOT : places[parent]!;
    const token = place < ROOT || tokens.length === maxNodes ? null : tokenAt(node, parent, chosen);
    chosen.push(token ?? 0);
    places.push(token === null ? -2 : tokens.length);
    if (token === null) continue;
    tokens.push(token);
    parents.push(place);
  }
  return treeOf(tokens, parents);
}

/** Medusa's static tree over the lattice: the same places in every step, whatever the heads say of their chances. */
export function staticTreeOfHeads(tree: StaticTree): Rescorer {
  return {
    commit() {},
    draft: ({ heads, k, tokens }: Lattice, maxNodes) =>
      fill(tree, maxNodes, (node) => {
        const [row, rank] = [tree.depths[node]! - 1, tree.ranks[node]!];
        return row < heads && rank < k ? tokens[row * k + rank]! : null;
      }),
  };
}

/**
 * Token recycling (Luo et al. 2024), an outside baseline without heads: a static tree filled with what the model thought
 * of when the same words came before. Rows come from committed tokens, not from rejected ones too as in the paper.
 */
export function tokenRecycling(tree: StaticTree): Rescorer {
  const recycled = new Recycled();
  let [before, last]: [TokenId, TokenId] = [0, 0];
  return {
    commit(tokens, runnersUp = NO_RUNNERS_UP) {
      recycled.commit(tokens, runnersUp);
      for (let i = 0; i < tokens.length; i++) [before, last] = [last, tokens[i]!];
    },
    draft: (_, maxNodes, scope) =>
      fill(tree, maxNodes, (node, parent, chosen) => {
        if (tree.depths[node]! > (scope?.depth ?? Infinity)) return null;
        const above = parent === ROOT ? null : tree.parents[parent]!;
        const token = parent === ROOT ? last : chosen[parent]!;
        const earlier = above === null ? before : above === ROOT ? last : chosen[above]!;
        if (!recycled.find(earlier, token)) return null;
        return rowOf(recycled)[tree.ranks[node]!] ?? null;
      }),
  };
}

/** How deep a tree of recycled tokens may go. */
const RECYCLED_DEPTH = 8;

/** What fills the places of a static tree. */
export type StaticSource = keyof RankShares;

export function staticTree(source: StaticSource, shares: RankShares, nodes: number): StaticTree {
  const byDepth = source === "heads" ? shares.heads : new Array(RECYCLED_DEPTH).fill(shares.recycled);
  return growStaticTree(byDepth, nodes);
}
