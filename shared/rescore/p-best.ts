import { assert } from "../assert.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import type { LmState, NgramModel } from "../ngram/model.ts";
import { Beam } from "./beam.ts";
import { copyInto } from "./grow.ts";
import { K } from "./lattice-columns.ts";
import { LatticeGraph } from "./lattice-graph.ts";
import { PathHeap } from "./path-heap.ts";

const RANK_BITS = 4;
const RANKS_PER_KEY = 32 / RANK_BITS;
assert(K === 1 << RANK_BITS && LIMITS.latticeHeads <= 2 * RANKS_PER_KEY, "a path's ranks fit two 32-bit keys");

/** Prefixes that the beam keeps, unless more paths are wanted. */
const BEAM = 8;

/**
 * Exact p-best paths of lattice x LM, in four passes over the lattice graph:
 *   1. a beam search finds complete paths; the p-th best of them is the score to beat, `floor`;
 *   2. a Viterbi pass, column by column, visits the nodes through which a path may still reach `floor` by the
 *      graph's upper bounds;
 *   3. a backward pass over these nodes makes the bounds exact;
 *   4. best-first enumeration over exact bounds meets nothing but prefixes of the p best paths.
 * Order: higher score first, then lower ranks in earlier columns. One instance per request; nothing is allocated
 * once its arrays have grown to the largest search seen.
 */
export class PathSearch {
  /** Paths found by the last `run`, best first. */
  count = 0;
  /** [pBest] in units of 2^-30 nat */
  readonly scores = new Float64Array(LIMITS.pBest);
  private readonly keysHigh = new Uint32Array(LIMITS.pBest);
  private readonly keysLow = new Uint32Array(LIMITS.pBest);

  private readonly graph: LatticeGraph;
  private readonly beam: Beam;
  private readonly heap = new PathHeap();
  private floor = 0;
  /** Nodes met by pass 2, column by column. */
  private queue = new Int32Array(1024);
  private queued = 0;

  /** @param model may be null where alpha is 0: the heads alone decide */
  constructor(model: NgramModel | null, alpha: number) {
    assert(alpha >= 0 && alpha <= 1, `alpha ${alpha}`);
    assert(model !== null || alpha === 0, "alpha > 0 needs a language model");
    this.graph = new LatticeGraph(alpha === 0 ? null : model, alpha);
    this.beam = new Beam(this.graph);
  }

  /** Finds the `pBest` best paths through the first `columns` columns after history `state`. */
  run(lattice: Lattice, columns: number, state: LmState, pBest: number): void {
    assert(lattice.k <= K && columns <= LIMITS.latticeHeads && columns <= lattice.heads, "lattice within limits");
    assert(pBest >= 1 && pBest <= LIMITS.pBest, `p-best ${pBest}`);
    this.count = 0;
    if (columns === 0 || lattice.k === 0) return;
    const root = this.graph.reset(lattice, columns, state);
    this.floor = this.beam.run(root, pBest);
    this.forward(root);
    this.backward();
    this.enumerate(root, pBest);
  }

  /** Rank chosen by path `path` in `column`. */
  rank(path: number, column: number): number {
    const key = column < RANKS_PER_KEY ? this.keysHigh[path]! : this.keysLow[path]!;
    return (key >>> (32 - RANK_BITS * ((column % RANKS_PER_KEY) + 1))) & (K - 1);
  }

  private forward(root: number): void {
    const { graph, floor } = this;
    const { k, columns, toGo } = graph;
    this.queued = 0;
    this.reach(root, 0);
    for (let i = 0; i < this.queued; i++) {
      const node = this.queue[i]!;
      const score = graph.reached[node]!;
      const column = graph.depth[node]!;
      graph.score(node);
      let open = 0;
      for (let r = 0; r < k; r++) {
        const there = score + graph.edge[node * K + r]!;
        if (!(there + toGo[column * K + r]! >= floor)) continue;
        open |= 1 << r;
        if (column + 1 < columns) this.reach(graph.follow(node, r), there);
      }
      graph.open[node] = open;
    }
  }

  private reach(node: number, score: number): void {
    const { reached } = this.graph;
    if (reached[node] === -Infinity) this.enqueue(node);
    if (score > reached[node]!) reached[node] = score;
  }

  private backward(): void {
    const { graph } = this;
    const { edge, open, best, depth, columns } = graph;
    for (let i = this.queued - 1; i >= 0; i--) {
      const node = this.queue[i]!;
      const last = depth[node]! + 1 === columns;
      let most = -Infinity;
      for (let left = open[node]!; left !== 0; left &= left - 1) {
        const r = 31 - Math.clz32(left & -left);
        const score = edge[node * K + r]! + (last ? 0 : best[graph.follow(node, r)]!);
        if (score > most) most = score;
      }
      best[node] = most;
    }
  }

  private enqueue(node: number): void {
    if (this.queued === this.queue.length) this.queue = copyInto(new Int32Array(2 * this.queued), this.queue);
    this.queue[this.queued++] = node;
  }

  private enumerate(root: number, pBest: number): void {
    const { heap, graph } = this;
    heap.clear();
    heap.insert(heap.add(0, graph.best[root]!, 0, 0, root, 0));
    for (let top = heap.pop(); top >= 0; top = heap.pop()) {
      if (heap.depth[top] === graph.columns) {
        this.scores[this.count] = heap.score[top]!;
        this.keysHigh[this.count] = heap.keyHigh[top]!;
        this.keysLow[this.count] = heap.keyLow[top]!;
        if (++this.count === pBest) return;
      } else {
        this.extend(top);
      }
    }
  }

  private extend(slot: number): void {
    const { heap, graph, floor } = this;
    const depth = heap.depth[slot]!;
    const node = heap.node[slot]!;
    const score = heap.score[slot]!;
    const keyHigh = heap.keyHigh[slot]!;
    const keyLow = heap.keyLow[slot]!;
    const shift = 32 - RANK_BITS * ((depth % RANKS_PER_KEY) + 1);
    const last = depth + 1 === graph.columns;
    for (let left = graph.open[node]!; left !== 0; left &= left - 1) {
      const r = 31 - Math.clz32(left & -left);
      const there = score + graph.edge[node * K + r]!;
      const after = last ? node : graph.follow(node, r);
      const bound = last ? there : there + graph.best[after]!;
      if (!(bound >= floor)) continue;
      const high = depth < RANKS_PER_KEY ? (keyHigh | (r << shift)) >>> 0 : keyHigh;
      const low = depth < RANKS_PER_KEY ? keyLow : (keyLow | (r << shift)) >>> 0;
      heap.insert(heap.add(there, bound, high, low, after, depth + 1));
    }
  }
}
