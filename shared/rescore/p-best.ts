import { assert } from "../assert.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { EMPTY_STATE, type LmState, type NgramModel } from "../ngram/model.ts";
import { setFloor } from "./beam.ts";
import { follow, openGroup, resetGraph } from "./lattice-graph.ts";
import { type LmScores, lmScores, NO_LM } from "./lm-scores.ts";
import { PathHeap } from "./path-heap.ts";
import { GROUP, K, WORKSPACE } from "./workspace.ts";

const RANK_BITS = 4;
const RANKS_PER_KEY = 32 / RANK_BITS;
assert(K === 1 << RANK_BITS && LIMITS.latticeHeads <= 2 * RANKS_PER_KEY, "a path's ranks fit two 32-bit keys");

const work = WORKSPACE;
const { ranks, ahead, toGo, depth, edge, reached, best, alive, queue } = work;
const heap = new PathHeap();

/**
 * Exact p-best paths of lattice x LM, in four passes over the lattice graph:
 *   1. a beam search finds complete paths; the p-th best of them is the score to beat, `floor`;
 *   2. a Viterbi pass, column by column, visits the nodes through which a path may still reach `floor` by the upper
 *      bounds from bigrams;
 *   3. a backward pass over these nodes makes the bounds exact;
 *   4. best-first enumeration over exact bounds meets nothing but prefixes of the p best paths.
 * Order: higher score first, then lower ranks in earlier columns. Nothing is allocated by a search.
 */
export class PathSearch {
  /** Paths found by the last `run`, best first. */
  count = 0;
  /** [pBest] in units of 2^-30 nat */
  readonly scores = new Float64Array(LIMITS.pBest);
  private readonly keysHigh = new Uint32Array(LIMITS.pBest);
  private readonly keysLow = new Uint32Array(LIMITS.pBest);
  private readonly lm: LmScores;

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
    const { lm } = this;
    lm.use();
    const root = resetGraph(lm, lattice, columns, lm === NO_LM ? EMPTY_STATE : state);
    setFloor(lm, root, pBest);
    backward(lm, forward(lm, root));
    this.enumerate(root, pBest);
  }

  /** Rank chosen by path `path` in `column`. */
  rank(path: number, column: number): number {
    const key = column < RANKS_PER_KEY ? this.keysHigh[path]! : this.keysLow[path]!;
    return (key >>> (32 - RANK_BITS * ((column % RANKS_PER_KEY) + 1))) & (K - 1);
  }

  private enumerate(root: number, pBest: number): void {
    heap.clear();
    heap.insert(heap.add(0, 0, root, 0));
    for (let top = heap.pop(); top >= 0; top = heap.pop()) {
      if (heap.depth[top] === work.columns) {
        this.scores[this.count] = heap.score[top]!;
        this.keysHigh[this.count] = heap.keyHigh[top]!;
        this.keysLow[this.count] = heap.keyLow[top]!;
        if (++this.count === pBest) return;
      } else {
        extend(this.lm, top);
      }
    }
  }
}

/** Fills `queue` and returns how many nodes it holds, each with its `reached` and `alive`. */
function forward(lm: LmScores, root: number): number {
  const { floor, top, slots, columns } = work;
  let queued = 1;
  queue[0] = root;
  reached[root] = 0;
  for (let i = 0; i < queued; i++) {
    const node = queue[i]!;
    const score = reached[node]!;
    const column = depth[node]!;
    work.wanted = floor - score;
    let bits = 0;
    for (let slot = 0, at = column * K; slot < slots && score + ahead[at]! + top >= floor; slot++, at++) {
      if (slot % GROUP === 0 && !openGroup(lm, node, slot)) {
        slot += GROUP - 1;
        at += GROUP - 1;
        continue;
      }
      const there = score + edge[node * K + slot]!;
      if (!(there + toGo[at]! >= floor)) continue;
      bits |= 1 << slot;
      if (column + 1 === columns) continue;
      const after = follow(lm, node, slot);
      if (reached[after] === -Infinity) queue[queued++] = after;
      if (there > reached[after]!) reached[after] = there;
    }
    alive[node] = bits;
  }
  return queued;
}

/** Sets `best` of the queued nodes. */
function backward(lm: LmScores, queued: number): void {
  const { columns } = work;
  for (let i = queued - 1; i >= 0; i--) {
    const node = queue[i]!;
    const last = depth[node]! + 1 === columns;
    let most = -Infinity;
    for (let left = alive[node]!; left !== 0; left &= left - 1) {
      const slot = lowestBit(left);
      const score = edge[node * K + slot]! + (last ? 0 : best[follow(lm, node, slot)]!);
      if (score > most) most = score;
    }
    best[node] = most;
  }
}

/** Puts the extensions of a hypothesis that reach `floor` into the heap. */
function extend(lm: LmScores, hypothesis: number): void {
  const column = heap.depth[hypothesis]!;
  const node = heap.node[hypothesis]!;
  const score = heap.score[hypothesis]!;
  const keyHigh = heap.keyHigh[hypothesis]!;
  const keyLow = heap.keyLow[hypothesis]!;
  const shift = 32 - RANK_BITS * ((column % RANKS_PER_KEY) + 1);
  const last = column + 1 === work.columns;
  for (let left = alive[node]!; left !== 0; left &= left - 1) {
    const slot = lowestBit(left);
    const there = score + edge[node * K + slot]!;
    const after = last ? node : follow(lm, node, slot);
    const bound = last ? there : there + best[after]!;
    if (!(bound >= work.floor)) continue;
    const rank = ranks[column * K + slot]!;
    const high = column < RANKS_PER_KEY ? (keyHigh | (rank << shift)) >>> 0 : keyHigh;
    const low = column < RANKS_PER_KEY ? keyLow : (keyLow | (rank << shift)) >>> 0;
    const longer = heap.add(high, low, after, column + 1);
    heap.score[longer] = there;
    heap.bound[longer] = bound;
    heap.insert(longer);
  }
}

/** Index of the lowest set bit. */
function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}
