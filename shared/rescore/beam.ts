import { LIMITS } from "../limits.ts";
import { K } from "./lattice-columns.ts";
import type { LatticeGraph } from "./lattice-graph.ts";

/** Extensions kept per column where p paths are wanted. */
const width = (pBest: number): number => Math.max(12, 2 * pBest);
const MOST = width(LIMITS.pBest);

/**
 * Beam search over the lattice graph for complete paths that an exact search must beat. Extensions are chosen by
 * their bounds, so that only the chosen ones need the model's longer n-grams.
 */
export class Beam {
  private readonly graph: LatticeGraph;
  /** [kept] nodes where the kept prefixes end, and their scores */
  private kept = 0;
  private readonly node = new Int32Array(MOST);
  private readonly score = new Float64Array(MOST);
  /** [chosen] extensions by falling bound: prefix, slot */
  private chosen = 0;
  private readonly bound = new Float64Array(MOST);
  private readonly from = new Uint8Array(MOST);
  private readonly slot = new Uint8Array(MOST);
  /** [MOST] what will be `node` and `score` next */
  private readonly after = new Int32Array(MOST);
  private readonly there = new Float64Array(MOST);

  constructor(graph: LatticeGraph) {
    this.graph = graph;
  }

  /** Sets the graph's floor to a score that at least `pBest` paths reach; to the lowest number where it found fewer. */
  run(root: number, pBest: number): void {
    const { columns } = this.graph.columns;
    this.kept = 1;
    this.node[0] = root;
    this.score[0] = 0;
    for (let column = 0; column < columns; column++) {
      this.choose(column, width(pBest));
      this.extend(column, pBest === 1);
    }
    this.graph.floor = this.kept < pBest ? -Number.MAX_VALUE : this.nthScore(pBest);
  }

  private choose(column: number, limit: number): void {
    const { graph, bound } = this;
    const { bounds } = graph;
    const { ahead, slots } = graph.columns;
    let lowest = -Number.MAX_VALUE;
    this.chosen = 0;
    for (let prefix = 0; prefix < this.kept; prefix++) {
      const score = this.score[prefix]!;
      const row = graph.row[this.node[prefix]!]!;
      for (let slot = 0; slot < slots && score + ahead[column * K + slot]! + graph.bounds.top > lowest; slot++) {
        if (bounds.width[row]! <= slot) bounds.widen(row);
        const value = score + bounds.bounds[row * K + slot]!;
        if (value <= lowest) continue;
        let at = this.chosen < limit ? this.chosen++ : limit - 1;
        for (; at > 0 && bound[at - 1]! < value; at--) {
          bound[at] = bound[at - 1]!;
          this.from[at] = this.from[at - 1]!;
          this.slot[at] = this.slot[at - 1]!;
        }
        bound[at] = value;
        this.from[at] = prefix;
        this.slot[at] = slot;
        if (this.chosen === limit) lowest = bound[limit - 1]!;
      }
    }
  }

  /** Moves on to the chosen extensions; with `merge` to the best of those that end in the same node. */
  private extend(column: number, merge: boolean): void {
    const { graph, node, score, after, there } = this;
    const last = column + 1 === graph.columns.columns;
    let kept = 0;
    for (let i = 0; i < this.chosen; i++) {
      const before = node[this.from[i]!]!;
      graph.evaluate(before, this.slot[i]!);
      const value = score[this.from[i]!]! + graph.edge[before * K + this.slot[i]!]!;
      const end = last ? -1 - i : graph.follow(before, this.slot[i]!);
      let at = kept;
      if (merge) for (at = 0; at < kept && after[at] !== end; at++);
      if (at === kept) kept++;
      else if (value <= there[at]!) continue;
      after[at] = end;
      there[at] = value;
    }
    node.set(after);
    score.set(there);
    this.kept = kept;
  }

  /** The p-th best score of the kept. */
  private nthScore(pBest: number): number {
    const { score } = this;
    for (let i = 0; i < pBest; i++) {
      let best = i;
      for (let j = i + 1; j < this.kept; j++) if (score[j]! > score[best]!) best = j;
      const value = score[best]!;
      score[best] = score[i]!;
      score[i] = value;
    }
    return score[pBest - 1]!;
  }
}
