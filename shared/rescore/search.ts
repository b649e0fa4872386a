import type { Lattice } from "../lattice.ts";
import type { LmState, NgramModel } from "../ngram/model.ts";
import { createBeam } from "./beam.ts";
import { createGraph } from "./lattice-graph.ts";
import { createLmScores } from "./lm-scores.ts";
import { PathHeap } from "./path-heap.ts";
import type { Workspace } from "./workspace.ts";

/** The four passes of a p-best search; see PathSearch. */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: a scope of short functions over shared constants, see workspace.ts.
export function createSearch(work: Workspace) {
  const { K, GROUP, ranks, ahead, toGo, depth, edge, reached, best, alive, queue } = work;
  const scores = createLmScores(work);
  const graph = createGraph(work, scores);
  const { openGroup, follow } = graph;
  const { setFloor } = createBeam(work, graph);
  const heap = new PathHeap();

  /** Prepares for `nextPath`: the paths come from it best first. */
  function start(
    model: NgramModel,
    alpha: number,
    lattice: Lattice,
    columns: number,
    state: LmState,
    pBest: number,
  ): void {
    scores.useModel(model, alpha);
    const root = graph.resetGraph(lattice, columns, state, alpha);
    setFloor(root, pBest);
    backward(forward(root));
    heap.begin(root);
  }

  /** The heap's slot of the next best path, or -1 after the last. */
  function nextPath(): number {
    for (let top = heap.pop(); top >= 0; top = heap.pop()) {
      if (heap.depth[top] === work.columns) return top;
      extend(top);
    }
    return -1;
  }

  /** Fills `queue` and returns how many nodes it holds, each with its `reached` and `alive`. */
  function forward(root: number): number {
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
        if (slot % GROUP === 0 && !openGroup(node, slot)) {
          slot += GROUP - 1;
          at += GROUP - 1;
          continue;
        }
        const there = score + edge[node * K + slot]!;
        if (!(there + toGo[at]! >= floor)) continue;
        bits |= 1 << slot;
        if (column + 1 === columns) continue;
        const after = follow(node, slot);
        if (reached[after] === -Infinity) queue[queued++] = after;
        if (there > reached[after]!) reached[after] = there;
      }
      alive[node] = bits;
    }
    return queued;
  }

  /** Sets `best` of the queued nodes. */
  function backward(queued: number): void {
    const { columns } = work;
    for (let i = queued - 1; i >= 0; i--) {
      const node = queue[i]!;
      const last = depth[node]! + 1 === columns;
      let most = -Infinity;
      for (let left = alive[node]!; left !== 0; left &= left - 1) {
        const slot = lowestBit(left);
        const score = edge[node * K + slot]! + (last ? 0 : best[follow(node, slot)]!);
        if (score > most) most = score;
      }
      best[node] = most;
    }
  }

  /** Puts the extensions of a hypothesis that reach `floor` into the heap. */
  function extend(hypothesis: number): void {
    const column = heap.depth[hypothesis]!;
    const node = heap.node[hypothesis]!;
    const score = heap.score[hypothesis]!;
    const last = column + 1 === work.columns;
    for (let left = alive[node]!; left !== 0; left &= left - 1) {
      const slot = lowestBit(left);
      const there = score + edge[node * K + slot]!;
      const after = last ? node : follow(node, slot);
      const bound = last ? there : there + best[after]!;
      if (!(bound >= work.floor)) continue;
      heap.extend(hypothesis, ranks[column * K + slot]!, after, there, bound);
    }
  }

  return { start, nextPath, heap };
}

/** Index of the lowest set bit. */
function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}
