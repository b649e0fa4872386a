import { LIMITS } from "../limits.ts";
import { K } from "./lattice-columns.ts";
import type { LatticeGraph } from "./lattice-graph.ts";

/** Prefixes kept per column, unless more paths are wanted. */
const WIDTH = 8;
const MOST = Math.max(WIDTH, LIMITS.pBest);

/** Beam search over the lattice graph, ordered by score so far plus `toGo`: complete paths that an exact search must beat. */
export class Beam {
  private readonly graph: LatticeGraph;
  /** [kept] nodes where the kept prefixes end, and their scores */
  private kept = 0;
  private readonly node = new Int32Array(MOST);
  private readonly score = new Float64Array(MOST);
  /** [offered] best extensions of the kept prefixes, falling: bound, score, which prefix, which rank */
  private offered = 0;
  private readonly bounds = new Float64Array(MOST);
  private readonly scores = new Float64Array(MOST);
  private readonly from = new Uint8Array(MOST);
  private readonly rank = new Uint8Array(MOST);
  private readonly after = new Int32Array(MOST);

  constructor(graph: LatticeGraph) {
    this.graph = graph;
  }

  /** A score that at least `pBest` complete paths reach; the lowest number where fewer were found. */
  run(root: number, pBest: number): number {
    const { columns } = this.graph;
    this.kept = 1;
    this.node[0] = root;
    this.score[0] = 0;
    for (let i = 0; i + 1 < columns; i++) {
      this.extend(i, Math.max(WIDTH, pBest));
      this.keep(pBest === 1);
    }
    this.extend(columns - 1, pBest);
    return this.offered === pBest ? this.bounds[pBest - 1]! : -Number.MAX_VALUE;
  }

  /** Sorts the `limit` best extensions by candidates of column i. */
  private extend(i: number, limit: number): void {
    const { graph, bounds } = this;
    const { k, toGo } = graph;
    this.offered = 0;
    let lowest = -Infinity;
    for (let prefix = 0; prefix < this.kept; prefix++) {
      const node = this.node[prefix]!;
      const score = this.score[prefix]!;
      graph.score(node);
      const { edge } = graph;
      for (let r = 0, at = node * K, candidate = i * K; r < k; r++, at++, candidate++) {
        const there = score + edge[at]!;
        const bound = there + toGo[candidate]!;
        if (bound <= lowest) continue;
        this.offer(bound, there, prefix, r, limit);
        if (this.offered === limit) lowest = bounds[limit - 1]!;
      }
    }
  }

  private offer(bound: number, score: number, prefix: number, rank: number, limit: number): void {
    const { bounds, scores, from } = this;
    let at = this.offered < limit ? this.offered++ : limit - 1;
    for (; at > 0 && bounds[at - 1]! < bound; at--) {
      bounds[at] = bounds[at - 1]!;
      scores[at] = scores[at - 1]!;
      from[at] = from[at - 1]!;
      this.rank[at] = this.rank[at - 1]!;
    }
    bounds[at] = bound;
    scores[at] = score;
    from[at] = prefix;
    this.rank[at] = rank;
  }

  /** Moves on to the offered extensions; with `merge` to the best of those that end in the same node. */
  private keep(merge: boolean): void {
    const { graph, node, after, score } = this;
    this.kept = 0;
    for (let j = 0; j < this.offered; j++) {
      const end = graph.follow(node[this.from[j]!]!, this.rank[j]!);
      if (merge && this.isKept(end)) continue;
      after[this.kept] = end;
      score[this.kept++] = this.scores[j]!;
    }
    node.set(after);
  }

  private isKept(end: number): boolean {
    for (let i = 0; i < this.kept; i++) if (this.after[i] === end) return true;
    return false;
  }
}
