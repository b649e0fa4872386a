import { assert } from "../assert.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import type { LmState, NgramModel } from "../ngram/model.ts";
import { copyInto } from "./grow.ts";
import { K } from "./lattice-columns.ts";
import { LatticeGraph } from "./lattice-graph.ts";
import { PathHeap } from "./path-heap.ts";

const RANK_BITS = 4;
const RANKS_PER_KEY = 32 / RANK_BITS;
assert(K === 1 << RANK_BITS && LIMITS.latticeHeads <= 2 * RANKS_PER_KEY, "a path's ranks fit two 32-bit keys");

/** Greedy walks that give the search a score to beat. */
const DIVES = 8;

/**
 * Exact p-best paths of lattice x LM, in four passes over the lattice graph:
 *   1. greedy dives find complete paths; the p-th best of them is the score to beat, `floor`;
 *   2. a Viterbi pass, column by column, builds the part of the graph through which a path may still reach `floor`
 *      by the graph's upper bounds;
 *   3. a backward pass makes those bounds exact within that part;
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
  private readonly heap = new PathHeap();
  /** [pBest] best complete paths met so far, falling; `floor` is the last. */
  private readonly leaves = new Float64Array(LIMITS.pBest);
  private floor = -Infinity;
  private pBest = 1;
  /** Nodes reached by pass 2, column by column. */
  private queue = new Int32Array(1024);
  private queued = 0;
  /** [DIVES * latticeHeads] nodes that each dive passed */
  private readonly trails = new Int32Array(DIVES * LIMITS.latticeHeads);

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
    if (columns === 0 || lattice.k === 0) return;
    const root = this.graph.reset(lattice, columns, state);
    this.setFloor(root);
    this.forward(root);
    for (let i = this.queued - 1; i >= 0; i--) this.graph.refresh(this.queue[i]!);
    this.enumerate(root);
  }

  /** Rank chosen by path `path` in `column`. */
  rank(path: number, column: number): number {
    const key = column < RANKS_PER_KEY ? this.keysHigh[path]! : this.keysLow[path]!;
    return (key >>> (32 - RANK_BITS * ((column % RANKS_PER_KEY) + 1))) & (K - 1);
  }

  private setFloor(root: number): void {
    const { graph, trails, leaves } = this;
    const { columns, k } = graph;
    leaves.fill(-Infinity);
    // Once the bound at the root is met the best path is known, and diving again would find it again.
    for (let dive = 0; dive < DIVES && (dive === 0 || graph.best[root]! > leaves[0]!); dive++) {
      const trail = dive * LIMITS.latticeHeads;
      let node = root;
      let score = 0;
      for (let i = 0; i < columns; i++) {
        trails[trail + i] = node;
        graph.expand(node);
        if (i + 1 === columns) break;
        const rank = graph.likeliest(node);
        score += graph.edge[node * K + rank]!;
        node = graph.follow(node, rank);
      }
      if (!this.repeats(dive)) for (let r = 0; r < k; r++) this.addLeaf(score + graph.edge[node * K + r]!);
      for (let i = columns - 1; i >= 0; i--) graph.refresh(trails[trail + i]!);
    }
    this.floor = leaves[this.pBest - 1]!;
  }

  /** Whether a dive passed the nodes of an earlier one: its paths may be the same, and must not count twice. */
  private repeats(dive: number): boolean {
    const { trails } = this;
    for (let earlier = 0; earlier < dive; earlier++) {
      let i = 0;
      while (
        i < this.graph.columns &&
        trails[earlier * LIMITS.latticeHeads + i] === trails[dive * LIMITS.latticeHeads + i]
      )
        i++;
      if (i === this.graph.columns) return true;
    }
    return false;
  }

  private addLeaf(score: number): void {
    const { leaves, pBest } = this;
    if (score <= leaves[pBest - 1]!) return;
    let at = pBest - 1;
    for (; at > 0 && leaves[at - 1]! < score; at--) leaves[at] = leaves[at - 1]!;
    leaves[at] = score;
  }

  private forward(root: number): void {
    const { graph, floor } = this;
    const { k } = graph;
    graph.reached[root] = 0;
    this.queued = 0;
    this.enqueue(root);
    for (let i = 0; i < this.queued; i++) {
      const node = this.queue[i]!;
      const score = graph.reached[node]!;
      if (score + graph.best[node]! < floor) continue;
      graph.expand(node);
      if (graph.depth[node]! + 1 === graph.columns) continue;
      for (let r = 0; r < k; r++) {
        if (!(score + graph.gain[node * K + r]! >= floor)) continue;
        const after = graph.follow(node, r);
        const there = score + graph.edge[node * K + r]!;
        const before = graph.reached[after]!;
        if (before === -Infinity) this.enqueue(after);
        if (there > before) graph.reached[after] = there;
      }
    }
  }

  private enqueue(node: number): void {
    if (this.queued === this.queue.length) this.queue = copyInto(new Int32Array(2 * this.queued), this.queue);
    this.queue[this.queued++] = node;
  }

  private enumerate(root: number): void {
    const { heap, graph, pBest } = this;
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
    const { k, columns } = graph;
    const depth = heap.depth[slot]!;
    const node = heap.node[slot]!;
    const score = heap.score[slot]!;
    const keyHigh = heap.keyHigh[slot]!;
    const keyLow = heap.keyLow[slot]!;
    const shift = 32 - RANK_BITS * ((depth % RANKS_PER_KEY) + 1);
    for (let r = 0; r < k; r++) {
      const bound = score + graph.gain[node * K + r]!;
      if (!(bound >= floor) || bound === -Infinity) continue;
      const high = depth < RANKS_PER_KEY ? (keyHigh | (r << shift)) >>> 0 : keyHigh;
      const low = depth < RANKS_PER_KEY ? keyLow : (keyLow | (r << shift)) >>> 0;
      const after = depth + 1 === columns ? node : graph.follow(node, r);
      heap.insert(heap.add(score + graph.edge[node * K + r]!, bound, high, low, after, depth + 1));
    }
  }
}
