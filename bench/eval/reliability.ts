import type { DraftTree } from "../../shared/draft-tree.ts";
import { CERTAIN, depths, SOURCES } from "../../shared/draft-tree.ts";
import type { NodeIndex } from "../../shared/ids.ts";

/** Nodes whose chance lies in one tenth of 0..1. */
export interface ReliabilityBin {
  nodes: number;
  /** Sum of their chances, 0..1 each. */
  predicted: number;
  accepted: number;
}

/** Group -> its bins, from unlikely to likely. Every node is in the group of its depth and in that of its source. */
export type Reliability = Map<string, ReliabilityBin[]>;

const BINS = 10;
/** The deepest of each group of depths. */
const DEPTH_GROUPS = [1, 2, 4, 8, Infinity];

/** Counts every node of a draft whose nodes say how likely they are. */
export function countReliability(into: Reliability, tree: DraftTree, accepted: readonly NodeIndex[]): void {
  const kept = new Set(accepted);
  for (const [node, depth] of depths(tree).entries()) {
    const chance = tree.chances[node]! / CERTAIN;
    for (const group of [depthGroup(depth), SOURCES[tree.sources?.[node] ?? 0]!]) {
      const bin = binsOf(into, group)[Math.min(BINS - 1, Math.floor(chance * BINS))]!;
      bin.nodes++;
      bin.predicted += chance;
      if (kept.has(node)) bin.accepted++;
    }
  }
}

export function addReliability(into: Reliability, from: Reliability): void {
  for (const [group, bins] of from) {
    for (const [i, bin] of binsOf(into, group).entries()) {
      bin.nodes += bins[i]!.nodes;
      bin.predicted += bins[i]!.predicted;
      bin.accepted += bins[i]!.accepted;
    }
  }
}

function binsOf(reliability: Reliability, group: string): ReliabilityBin[] {
  const found = reliability.get(group);
  if (found !== undefined) return found;
  const bins = Array.from({ length: BINS }, () => ({ nodes: 0, predicted: 0, accepted: 0 }));
  reliability.set(group, bins);
  return bins;
}

function depthGroup(depth: number): string {
  const i = DEPTH_GROUPS.findIndex((deepest) => depth <= deepest);
  const first = i === 0 ? 1 : DEPTH_GROUPS[i - 1]! + 1;
  const last = DEPTH_GROUPS[i]!;
  return last === Infinity ? `depth ${first} and more` : `depth ${first === last ? first : `${first} to ${last}`}`;
}
