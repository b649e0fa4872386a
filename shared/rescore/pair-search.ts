import { assert } from "../assert.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { alphaSteps, edgeScore, pairPart } from "./lattice-columns.ts";
import type { FoundPaths } from "./p-best.ts";
import type { PairScores } from "./pair-scores.ts";
import { PathHeap, rankOf } from "./path-heap.ts";

const K = LIMITS.topK;
const COLUMNS = LIMITS.latticeHeads;

/** Shared by all: a search is over before the next starts. A node is the rank of a path's newest candidate. */
const heap = new PathHeap();
/** [columns * K] log p_head by rank; -Infinity where an earlier rank holds the same token */
const heads = new Float64Array(COLUMNS * K);
/** [columns * K * K] score of the step to a candidate, by its own rank after the rank before it */
const edges = new Float64Array(COLUMNS * K * K);
/** [K] S of a column's candidates after the one at hand */
const scores = new Float64Array(K);
/** [columns * K] best score of what follows a candidate */
const best = new Float64Array(COLUMNS * K);

/**
 * Exact p-best paths under sum_i log p_head_i(w_i) + alpha S(w_(i-1), w_i). A step depends on the candidate before it
 * alone, so the best score of what follows each candidate comes from one backward pass (Viterbi), and best-first
 * enumeration by these scores meets nothing but prefixes of the p best paths and their siblings. Scores are sums of
 * integers (lattice-columns.ts). Order: higher score first, then lower ranks in earlier columns.
 */
export class PairSearch implements FoundPaths {
  /** Paths found by the last `run`, best first. */
  count = 0;
  /** [pBest] in units of 2^-30 nat */
  readonly scores = new Float64Array(LIMITS.pBest);
  private readonly keysHigh = new Uint32Array(LIMITS.pBest);
  private readonly keysLow = new Uint32Array(LIMITS.pBest);
  private readonly steps: number;
  private readonly pairs: PairScores | null;

  /** @param pairs may be null where alpha is 0: the heads alone decide */
  constructor(pairs: PairScores | null, alpha: number) {
    assert(alpha >= 0 && alpha <= 1, `alpha ${alpha}`);
    assert(pairs !== null || alpha === 0, "alpha > 0 needs tables of pairs");
    this.pairs = alpha === 0 ? null : pairs;
    this.steps = alphaSteps(alpha);
  }

  /** Finds the `pBest` best paths through the first `columns` columns. */
  run(lattice: Lattice, columns: number, pBest: number): void {
    const { k } = lattice;
    assert(k <= K && columns <= COLUMNS && columns <= lattice.heads, "lattice within limits");
    assert(pBest >= 1 && pBest <= LIMITS.pBest, `p-best ${pBest}`);
    this.count = 0;
    if (columns === 0 || k === 0) return;
    this.pairs?.begin(lattice);
    readHeads(lattice, columns);
    best.fill(0, (columns - 1) * K, columns * K);
    scores.fill(0);
    for (let i = columns - 1; i > 0; i--) this.relax(lattice, i);
    heap.begin(0);
    for (let top = heap.pop(); top >= 0; top = heap.pop()) {
      if (heap.depth[top] === columns) {
        this.keep(top);
        if (this.count === pBest) return;
      } else extend(top, k);
    }
  }

  rank(path: number, column: number): number {
    return rankOf(this.keysHigh[path]!, this.keysLow[path]!, column);
  }

  /** Sets the edges into column `i`, and `best` of the column before. */
  private relax({ tokens, k }: Lattice, i: number): void {
    const { pairs, steps } = this;
    for (let before = 0; before < k; before++) {
      const from = (i - 1) * K + before;
      if (heads[from] === -Infinity) continue;
      if (pairs !== null) {
        pairs.after(tokens[(i - 1) * k + before]!);
        pairs.scoreColumn(i, scores, 0);
      }
      let most = -Infinity;
      for (let r = 0, at = i * K, edge = (i * K + before) * K; r < k; r++, at++, edge++) {
        const score = heads[at]! + pairPart(steps, scores[r]!);
        edges[edge] = score;
        if (score + best[at]! > most) most = score + best[at]!;
      }
      best[from] = most;
    }
  }

  private keep(path: number): void {
    this.scores[this.count] = heap.score[path]!;
    this.keysHigh[this.count] = heap.keyHigh[path]!;
    this.keysLow[this.count++] = heap.keyLow[path]!;
  }
}

function readHeads({ tokens, logProbs, k }: Lattice, columns: number): void {
  for (let i = 0; i < columns; i++) {
    for (let r = 0; r < k; r++) {
      const repeats = tokens.indexOf(tokens[i * k + r]!, i * k) < i * k + r;
      heads[i * K + r] = repeats ? -Infinity : edgeScore(0, logProbs[i * k + r]!, 0);
    }
  }
}

/** Puts all that continue a path into the heap. */
function extend(path: number, k: number): void {
  const column = heap.depth[path]!;
  const score = heap.score[path]!;
  const before = heap.node[path]!;
  for (let r = 0; r < k; r++) {
    // What stands before the first column its head has read.
    const edge = column === 0 ? heads[r]! : edges[(column * K + before) * K + r]!;
    if (edge !== -Infinity) heap.extend(path, r, r, score + edge, score + edge + best[column * K + r]!);
  }
}
