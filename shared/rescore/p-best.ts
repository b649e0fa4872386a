import { assert } from "../assert.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import type { LmState, NgramModel } from "../ngram/model.ts";
import { K, LatticeGraph } from "./lattice-graph.ts";
import { PathHeap } from "./path-heap.ts";

const RANK_BITS = 4;
const RANKS_PER_KEY = 32 / RANK_BITS;
assert(K === 1 << RANK_BITS && LIMITS.latticeHeads <= 2 * RANKS_PER_KEY, "a path's ranks fit two 32-bit keys");

/**
 * Exact p-best paths of lattice x LM by A*. A hypothesis is a path prefix. Bounds of what is to come are consistent
 * at every moment (see LatticeGraph) and only fall, so a hypothesis that is still first with its newest bound is the
 * best unexpanded one at its node; the p-th expansion of a node is therefore the last that can matter.
 * Order: higher score first, then lower ranks in earlier columns. One instance per request; nothing is allocated
 * once its arrays have grown to the largest search seen.
 */
export class PathSearch {
  /** Paths found by the last `run`, best first. */
  count = 0;
  /** [pBest] in units of 2^-24 nat */
  readonly scores = new Float64Array(LIMITS.pBest);
  private readonly keysHigh = new Uint32Array(LIMITS.pBest);
  private readonly keysLow = new Uint32Array(LIMITS.pBest);

  private readonly graph: LatticeGraph;
  private readonly heap = new PathHeap();
  /** [pBest] best complete paths met so far, falling: what cannot reach the last of them is dropped */
  private readonly leaves = new Float64Array(LIMITS.pBest);
  private pBest = 1;

  /** @param model may be null where alpha is 0: the heads alone decide */
  constructor(model: NgramModel | null, alpha: number) {
    assert(alpha >= 0 && alpha <= 1, `alpha ${alpha}`);
    assert(model !== null || alpha === 0, "alpha > 0 needs a language model");
    this.graph = new LatticeGraph(alpha === 0 ? null : model, alpha);
  }

  /** Finds the `pBest` best paths through the first `columns` columns after history `state`. */
  run(lattice: Lattice, columns: number, state: LmState, pBest: number): void {
    assert(lattice.k <= K && columns <= LIMITS.latticeHeads && columns <= lattice.heads, "lattice within limits");
    assert(pBest >= 1 && pBest <= LIMITS.pBest, `p-best ${pBest}`);
    this.pBest = pBest;
    this.count = 0;
    this.leaves.fill(-Infinity);
    const { heap, graph } = this;
    heap.clear();
    if (columns === 0 || lattice.k === 0) return;
    this.dive(heap.add(0, 0, 0, 0, graph.reset(lattice, columns, state), 0));
    for (let top = heap.pop(); top >= 0 && this.count < pBest; top = heap.pop()) {
      const node = heap.node[top]!;
      if (heap.depth[top] === columns) {
        this.record(top);
      } else if (graph.admitted[node]! < pBest) {
        graph.expand(node);
        heap.bound[top] = heap.score[top]! + graph.best[node]!;
        if (heap.isFirst(top)) {
          graph.admitted[node]!++;
          this.extend(top);
        } else if (heap.bound[top]! >= this.leaves[pBest - 1]!) {
          heap.insert(top);
        }
      }
    }
  }

  /** Rank chosen by path `path` in `column`. */
  rank(path: number, column: number): number {
    const key = column < RANKS_PER_KEY ? this.keysHigh[path]! : this.keysLow[path]!;
    return (key >>> (32 - RANK_BITS * ((column % RANKS_PER_KEY) + 1))) & (K - 1);
  }

  private record(slot: number): void {
    this.scores[this.count] = this.heap.score[slot]!;
    this.keysHigh[this.count] = this.heap.keyHigh[slot]!;
    this.keysLow[this.count] = this.heap.keyLow[slot]!;
    this.count++;
  }

  /** Walks greedily to complete paths first: their scores spare the search most of what it would keep. */
  private dive(root: number): void {
    const { heap, graph } = this;
    for (let at = root; ; ) {
      graph.expand(heap.node[at]!);
      at = this.extend(at);
      if (at < 0 || heap.depth[at] === graph.columns) return;
      heap.take(at);
    }
  }

  /** Pushes every extension of a hypothesis that can still be among the p best; returns the likeliest one's slot or -1. */
  private extend(slot: number): number {
    const { heap, graph, leaves, pBest } = this;
    const { k, columns } = graph;
    const depth = heap.depth[slot]!;
    const node = heap.node[slot]!;
    const score = heap.score[slot]!;
    const keyHigh = heap.keyHigh[slot]!;
    const keyLow = heap.keyLow[slot]!;
    const shift = 32 - RANK_BITS * ((depth % RANKS_PER_KEY) + 1);
    let likeliest = -1;
    for (let r = 0; r < k; r++) {
      const bound = score + graph.gain[node * K + r]!;
      if (bound === -Infinity || bound < leaves[pBest - 1]!) continue;
      const now = score + graph.edge[node * K + r]!;
      const leaf = depth + 1 === columns;
      const after = leaf ? 0 : graph.follow(node, r);
      if (leaf) this.addLeaf(now);
      else if (graph.admitted[after]! >= pBest) continue;
      const high = depth < RANKS_PER_KEY ? (keyHigh | (r << shift)) >>> 0 : keyHigh;
      const low = depth < RANKS_PER_KEY ? keyLow : (keyLow | (r << shift)) >>> 0;
      const child = heap.add(now, bound, high, low, after, depth + 1);
      heap.insert(child);
      if (likeliest < 0 || bound > heap.bound[likeliest]!) likeliest = child;
    }
    return likeliest;
  }

  private addLeaf(score: number): void {
    const { leaves, pBest } = this;
    let at = pBest - 1;
    for (; at > 0 && leaves[at - 1]! < score; at--) leaves[at] = leaves[at - 1]!;
    leaves[at] = score;
  }
}
