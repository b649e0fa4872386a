import { LIMITS } from "../limits.ts";
import { GROUP } from "./bigram-bounds.ts";
import { K } from "./lattice-columns.ts";
import type { LatticeGraph } from "./lattice-graph.ts";

/** Prefixes kept per column, unless more paths are wanted. */
const WIDTH = 8;
const MOST = Math.max(WIDTH, LIMITS.pBest);

/** Beam search over the lattice graph, by score so far plus `toGo`: for complete paths that an exact search must beat. */
export class Beam {
  /** The result of `run`. */
  floor = 0;
  private readonly graph: LatticeGraph;
  /** [kept] nodes where the kept prefixes end, and their scores */
  private kept = 0;
  private readonly node = new Int32Array(MOST);
  private readonly score = new Float64Array(MOST);
  /** [chosen] best extensions of the kept prefixes by falling bound: bound, score, which prefix, which slot */
  private chosen = 0;
  private readonly bound = new Float64Array(MOST);
  private readonly there = new Float64Array(MOST);
  private readonly from = new Uint8Array(MOST);
  private readonly slot = new Uint8Array(MOST);
  /** [kept] the nodes to be */
  private readonly after = new Int32Array(MOST);

  constructor(graph: LatticeGraph) {
    this.graph = graph;
  }

  /** Sets `floor` to a score that at least `pBest` paths reach; to the lowest number where it found fewer. */
  run(root: number, pBest: number): void {
    const { columns } = this.graph.columns;
    this.kept = 1;
    this.node[0] = root;
    this.score[0] = 0;
    for (let column = 0; column + 1 < columns; column++) {
      this.choose(column, Math.max(WIDTH, pBest));
      this.keep(pBest === 1);
    }
    this.choose(columns - 1, pBest);
    this.floor = this.chosen < pBest ? -Number.MAX_VALUE : this.bound[pBest - 1]!;
  }

  private choose(column: number, limit: number): void {
    const { graph, bound } = this;
    const { top } = graph.bounds;
    const { ahead, toGo, slots } = graph.columns;
    let lowest = -Number.MAX_VALUE;
    this.chosen = 0;
    for (let prefix = 0; prefix < this.kept; prefix++) {
      const score = this.score[prefix]!;
      const node = this.node[prefix]!;
      graph.wanted = lowest - score;
      for (let slot = 0, at = column * K; slot < slots && score + ahead[at]! + top > lowest; slot++, at++) {
        if ((slot & (GROUP - 1)) === 0 && !graph.open(node, slot)) {
          slot += GROUP - 1;
          at += GROUP - 1;
          continue;
        }
        const there = score + graph.edge[node * K + slot]!;
        const value = there + toGo[at]!;
        if (value <= lowest) continue;
        let place = this.chosen < limit ? this.chosen++ : limit - 1;
        for (; place > 0 && bound[place - 1]! < value; place--) {
          bound[place] = bound[place - 1]!;
          this.there[place] = this.there[place - 1]!;
          this.from[place] = this.from[place - 1]!;
          this.slot[place] = this.slot[place - 1]!;
        }
        bound[place] = value;
        this.there[place] = there;
        this.from[place] = prefix;
        this.slot[place] = slot;
        if (this.chosen === limit) lowest = bound[limit - 1]!;
      }
    }
  }

  /** Moves on to the chosen extensions; with `merge` to the best of those that end in the same node. */
  private keep(merge: boolean): void {
    const { graph, node, score, after } = this;
    this.kept = 0;
    for (let i = 0; i < this.chosen; i++) {
      const end = graph.follow(node[this.from[i]!]!, this.slot[i]!);
      if (merge && this.isKept(end)) continue;
      after[this.kept] = end;
      score[this.kept++] = this.there[i]!;
    }
    node.set(after);
  }

  private isKept(end: number): boolean {
    for (let i = 0; i < this.kept; i++) if (this.after[i] === end) return true;
    return false;
  }
}
