import { LIMITS } from "../limits.ts";
import type { LatticeGraph } from "./lattice-graph.ts";
import type { Workspace } from "./workspace.ts";

/** Prefixes kept per column, unless more paths are wanted. */
const WIDTH = 8;
const MOST = Math.max(WIDTH, LIMITS.pBest);

/** Beam search over the lattice graph, for complete paths that an exact search must beat. */
export function createBeam(work: Workspace, graph: LatticeGraph) {
  const { K, GROUP, ahead, toGo, edge } = work;
  const { openGroup, follow } = graph;
  /** [kept] nodes where the kept prefixes end, and their scores; the nodes to be */
  const ends = new Int32Array(MOST);
  const scores = new Float64Array(MOST);
  const endsNext = new Int32Array(MOST);
  let kept = 0;
  /** [chosen] best extensions of the kept prefixes by falling bound: bound, score, which prefix, which slot */
  const bounds = new Float64Array(MOST);
  const there = new Float64Array(MOST);
  const from = new Uint8Array(MOST);
  const slots = new Uint8Array(MOST);
  let chosen = 0;

  /**
   * Beam search over the lattice graph, by score so far plus bound of the score to come. Sets `floor` to a score that at
   * least `pBest` complete paths reach; to the lowest number where it found fewer.
   */
  function setFloor(root: number, pBest: number): void {
    kept = 1;
    ends[0] = root;
    scores[0] = 0;
    for (let column = 0; column + 1 < work.columns; column++) {
      choose(column, Math.max(WIDTH, pBest));
      keep(pBest === 1);
    }
    choose(work.columns - 1, pBest);
    work.floor = chosen < pBest ? -Number.MAX_VALUE : bounds[pBest - 1]!;
  }

  function choose(column: number, limit: number): void {
    let lowest = -Number.MAX_VALUE;
    chosen = 0;
    for (let prefix = 0; prefix < kept; prefix++) {
      const score = scores[prefix]!;
      const node = ends[prefix]!;
      work.wanted = lowest - score;
      for (let slot = 0, at = column * K; slot < work.slots && score + ahead[at]! + work.top > lowest; slot++, at++) {
        if (slot % GROUP === 0 && !openGroup(node, slot)) {
          slot += GROUP - 1;
          at += GROUP - 1;
          continue;
        }
        const reached = score + edge[node * K + slot]!;
        const bound = reached + toGo[at]!;
        if (bound <= lowest) continue;
        let place = chosen < limit ? chosen++ : limit - 1;
        for (; place > 0 && bounds[place - 1]! < bound; place--) {
          bounds[place] = bounds[place - 1]!;
          there[place] = there[place - 1]!;
          from[place] = from[place - 1]!;
          slots[place] = slots[place - 1]!;
        }
        bounds[place] = bound;
        there[place] = reached;
        from[place] = prefix;
        slots[place] = slot;
        if (chosen === limit) lowest = bounds[limit - 1]!;
      }
    }
  }

  /** Moves on to the chosen extensions; with `merge` to the best of those that end in the same node. */
  function keep(merge: boolean): void {
    kept = 0;
    for (let i = 0; i < chosen; i++) {
      const end = follow(ends[from[i]!]!, slots[i]!);
      if (merge && isKept(end)) continue;
      endsNext[kept] = end;
      scores[kept++] = there[i]!;
    }
    for (let i = 0; i < kept; i++) ends[i] = endsNext[i]!;
  }

  function isKept(end: number): boolean {
    for (let i = 0; i < kept; i++) if (endsNext[i] === end) return true;
    return false;
  }

  return { setFloor };
}
