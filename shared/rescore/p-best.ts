import { assert } from "../assert.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { EMPTY_STATE, type LmState, type NgramModel } from "../ngram/model.ts";
import { Beam } from "./beam.ts";
import { GROUP } from "./bigram-bounds.ts";
import { copyInto } from "./grow.ts";
import { K } from "./lattice-columns.ts";
import { LatticeGraph, lowestBit } from "./lattice-graph.ts";
import { type LmScores, lmScores, NO_LM } from "./lm-scores.ts";
import { PathHeap } from "./path-heap.ts";

const RANK_BITS = 4;
const RANKS_PER_KEY = 32 / RANK_BITS;
assert(K === 1 << RANK_BITS && LIMITS.latticeHeads <= 2 * RANKS_PER_KEY, "a path's ranks fit two 32-bit keys");

/** A search is over before another starts, so all share their memory, and it stays in the processor's cache. */
const GRAPH = new LatticeGraph();
const BEAM = new Beam(GRAPH);
const HEAP = new PathHeap();
let queue = new Int32Array(1024);

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

  private readonly lm: LmScores;
  private readonly graph = GRAPH;
  private readonly heap = HEAP;
  /** Nodes met by pass 2, column by column. */
  private queued = 0;

  /** @param model may be null where alpha is 0: the heads alone decide */
  constructor(model: NgramModel | null, alpha: number) {
    assert(alpha >= 0 && alpha <= 1, `alpha ${alpha}`);
    assert(model !== null || alpha === 0, "alpha > 0 needs a language model");
    this.lm = model === null || alpha === 0 ? NO_LM : lmScores(model, alpha);
  }

  /** Finds the `pBest` best paths through the first `columns` columns after history `state`. */
  run(lattice: Lattice, columns: number, state: LmState, pBest: number): void {
    assert(lattice.k <= K && columns <= LIMITS.latticeHeads && columns <= lattice.heads, "lattice within limits");
    assert(pBest >= 1 && pBest <= LIMITS.pBest, `p-best ${pBest}`);
    this.count = 0;
    if (columns === 0 || lattice.k === 0) return;
    const root = GRAPH.reset(this.lm, lattice, columns, this.lm === NO_LM ? EMPTY_STATE : state);
    BEAM.run(root, pBest);
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
    const { graph } = this;
    const { floor } = BEAM;
    const { toGo, ahead, slots, columns } = graph.columns;
    const { top } = graph.bounds;
    this.queued = 0;
    graph.reached[root] = 0;
    this.enqueue(root);
    for (let i = 0; i < this.queued; i++) {
      const node = queue[i]!;
      const score = graph.reached[node]!;
      const column = graph.depth[node]!;
      graph.wanted = floor - score;
      let alive = 0;
      for (let slot = 0; slot < slots && score + ahead[column * K + slot]! + top >= floor; slot++) {
        if ((slot & (GROUP - 1)) === 0 && !graph.open(node, slot)) {
          slot += GROUP - 1;
          continue;
        }
        const there = score + graph.edge[node * K + slot]!;
        if (!(there + toGo[column * K + slot]! >= floor)) continue;
        alive |= 1 << slot;
        if (column + 1 === columns) continue;
        const after = graph.follow(node, slot);
        const { reached } = graph;
        if (reached[after] === -Infinity) this.enqueue(after);
        if (there > reached[after]!) reached[after] = there;
      }
      graph.alive[node] = alive;
    }
  }

  private backward(): void {
    const { graph } = this;
    const { edge, alive, best, depth } = graph;
    const { columns } = graph.columns;
    for (let i = this.queued - 1; i >= 0; i--) {
      const node = queue[i]!;
      const last = depth[node]! + 1 === columns;
      let most = -Infinity;
      for (let left = alive[node]!; left !== 0; left &= left - 1) {
        const slot = lowestBit(left);
        const score = edge[node * K + slot]! + (last ? 0 : best[graph.follow(node, slot)]!);
        if (score > most) most = score;
      }
      best[node] = most;
    }
  }

  private enqueue(node: number): void {
    if (this.queued === queue.length) queue = copyInto(new Int32Array(2 * this.queued), queue);
    queue[this.queued++] = node;
  }

  private enumerate(root: number, pBest: number): void {
    const { heap, graph } = this;
    heap.clear();
    heap.insert(heap.add(0, 0, root, 0));
    for (let top = heap.pop(); top >= 0; top = heap.pop()) {
      if (heap.depth[top] === graph.columns.columns) {
        this.scores[this.count] = heap.score[top]!;
        this.keysHigh[this.count] = heap.keyHigh[top]!;
        this.keysLow[this.count] = heap.keyLow[top]!;
        if (++this.count === pBest) return;
      } else {
        this.extend(top);
      }
    }
  }

  private extend(hypothesis: number): void {
    const { heap, graph } = this;
    const depth = heap.depth[hypothesis]!;
    const node = heap.node[hypothesis]!;
    const score = heap.score[hypothesis]!;
    const keyHigh = heap.keyHigh[hypothesis]!;
    const keyLow = heap.keyLow[hypothesis]!;
    const shift = 32 - RANK_BITS * ((depth % RANKS_PER_KEY) + 1);
    const last = depth + 1 === graph.columns.columns;
    for (let left = graph.alive[node]!; left !== 0; left &= left - 1) {
      const slot = lowestBit(left);
      const there = score + graph.edge[node * K + slot]!;
      const after = last ? node : graph.follow(node, slot);
      const bound = last ? there : there + graph.best[after]!;
      if (!(bound >= BEAM.floor)) continue;
      const r = graph.columns.ranks[depth * K + slot]!;
      const high = depth < RANKS_PER_KEY ? (keyHigh | (r << shift)) >>> 0 : keyHigh;
      const low = depth < RANKS_PER_KEY ? keyLow : (keyLow | (r << shift)) >>> 0;
      const longer = heap.add(high, low, after, depth + 1);
      heap.score[longer] = there;
      heap.bound[longer] = bound;
      heap.insert(longer);
    }
  }
}
