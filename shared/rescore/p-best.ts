import { assert } from "../assert.ts";
import type { LogProb } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { EMPTY_STATE, type LmState, type NgramModel } from "../ngram/model.ts";
import { PathHeap } from "./path-heap.ts";

/**
 * Scores are sums of integers (units of 2^-24 nat), so that they are exact, associative and tie alike on every
 * machine. A head's -Infinity counts as this floor: with alpha = 1 such a candidate is still the LM's to choose.
 */
const SCALE = 1 << 24;
const FLOOR: LogProb = -1e4;

/** One path step: (1 - alpha) log p_head + alpha log p_lm, in units of 2^-24 nat. */
export function edgeScore(alpha: number, head: LogProb, lm: LogProb): number {
  return Math.round(((1 - alpha) * (head > FLOOR ? head : FLOOR) + alpha * lm) * SCALE);
}

const RANK_BITS = 4;
const RANKS_PER_KEY = 32 / RANK_BITS;
const K = LIMITS.topK;
assert(K === 1 << RANK_BITS && LIMITS.latticeHeads <= 2 * RANKS_PER_KEY, "a path's ranks fit two 32-bit keys");

/** The pack has no bigram of these two tokens; or there is no token before. */
const NO_BIGRAM = -1;
const UNKNOWN = -2;

/**
 * Exact p-best paths of lattice x LM by A*. A hypothesis is a path prefix; the score still to come is bounded by a
 * bigram relaxation of the LM (the pack stores, per bigram, the highest probability any longer history gives it),
 * which is consistent, so the p-th time a (column, LM state) is reached no further prefix ending there matters.
 * Order: higher score first, then lower ranks in earlier columns. One instance per request; nothing is allocated
 * once its heap has grown to the largest search seen.
 */
export class PathSearch {
  /** Paths found by the last `run`, best first. */
  count = 0;
  /** [pBest] in units of 2^-24 nat */
  readonly scores = new Float64Array(LIMITS.pBest);
  private readonly keysHigh = new Uint32Array(LIMITS.pBest);
  private readonly keysLow = new Uint32Array(LIMITS.pBest);

  private readonly model: NgramModel | null;
  private readonly alpha: number;
  private readonly heap = new PathHeap();
  /** [columns * K] bound of the score after choosing that rank in that column */
  private readonly toGo = new Float64Array(LIMITS.latticeHeads * K);
  /** [columns * K * K] bigram entry of (rank before, rank), or NO_BIGRAM */
  private readonly bigrams = new Int32Array(LIMITS.latticeHeads * K * K);
  /** [columns * K] 1 where an earlier rank of the column holds the same token */
  private readonly repeated = new Uint8Array(LIMITS.latticeHeads * K);
  /** [pBest] best complete paths pushed so far, falling */
  private readonly leaves = new Float64Array(LIMITS.pBest);
  private lattice!: Lattice;
  private columns = 0;
  private pBest = 1;
  /** Best child of the last expansion, a heap slot or -1. */
  private bestChild = -1;
  private lm = 0;
  private nextState: LmState = EMPTY_STATE;

  /** @param model may be null where alpha is 0: the heads alone decide */
  constructor(model: NgramModel | null, alpha: number) {
    assert(alpha >= 0 && alpha <= 1, `alpha ${alpha}`);
    assert(model !== null || alpha === 0, "alpha > 0 needs a language model");
    this.model = alpha === 0 ? null : model;
    this.alpha = alpha;
  }

  /** Finds the `pBest` best paths through the first `columns` columns after history `state`. */
  run(lattice: Lattice, columns: number, state: LmState, pBest: number): void {
    assert(lattice.k <= K && columns <= LIMITS.latticeHeads && columns <= lattice.heads, "lattice within limits");
    assert(pBest >= 1 && pBest <= LIMITS.pBest, `p-best ${pBest}`);
    this.lattice = lattice;
    this.columns = columns;
    this.pBest = pBest;
    this.count = 0;
    this.leaves.fill(-Infinity);
    this.heap.clear();
    if (columns === 0 || lattice.k === 0) return;
    this.prepare();
    this.dive(this.heap.add(0, 0, 0, 0, state, 0));
    const { heap } = this;
    for (let top = heap.pop(); top >= 0 && this.count < pBest; top = heap.pop()) {
      if (!heap.admit(top, pBest)) continue;
      if (heap.depth[top] === columns) this.record(top);
      else this.expand(top);
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

  /** Walks greedily to complete paths first: their scores prune most of what the search would push. */
  private dive(slot: number): void {
    for (let at = slot; at >= 0 && this.heap.depth[at]! < this.columns; at = this.bestChild) {
      this.heap.take(at);
      this.expand(at);
    }
  }

  private prepare(): void {
    const { lattice, columns, toGo, repeated } = this;
    const { k, tokens } = lattice;
    for (let i = 0; i < columns; i++) {
      for (let r = 0; r < k; r++) {
        let first = 0;
        while (tokens[i * k + first] !== tokens[i * k + r]) first++;
        repeated[i * K + r] = first < r ? 1 : 0;
      }
    }
    toGo.fill(0, (columns - 1) * K, columns * K);
    for (let i = columns - 1; i > 0; i--) {
      for (let r = 0; r < k; r++) toGo[(i - 1) * K + r] = this.boundFrom(i, r);
    }
  }

  /** Bound of the score from column i on, after rank `before` of column i - 1; fills its row of `bigrams`. */
  private boundFrom(i: number, before: number): number {
    const { lattice, model, alpha, toGo, bigrams, repeated } = this;
    const { k, tokens, logProbs } = lattice;
    const row = (i * K + before) * K;
    const history = tokens[(i - 1) * k + before]!;
    const context = model === null || history >= model.shape.vocabSize ? EMPTY_STATE : model.contextOf(history);
    let best = -Infinity;
    for (let r = 0; r < k; r++) {
      const at = i * K + r;
      if (repeated[at] === 1) continue;
      let lm = 0;
      if (model !== null) {
        const token = tokens[i * k + r]!;
        const entry = context === EMPTY_STATE ? NO_BIGRAM : model.find(context, token);
        bigrams[row + r] = entry;
        lm = entry >= 0 ? model.bigramBound(entry) : model.backoffBound(context, token);
      }
      const bound = edgeScore(alpha, logProbs[i * k + r]!, lm) + toGo[at]!;
      if (bound > best) best = bound;
    }
    return best;
  }

  /** Pushes every extension of a hypothesis that can still be among the p best. */
  private expand(slot: number): void {
    const { heap, lattice, model, alpha, columns, toGo, repeated, leaves, pBest } = this;
    const { k, tokens, logProbs } = lattice;
    const i = heap.depth[slot]!;
    const score = heap.score[slot]!;
    const state = heap.state[slot]!;
    const keyHigh = heap.keyHigh[slot]!;
    const keyLow = heap.keyLow[slot]!;
    const row = i === 0 ? UNKNOWN : (i * K + lastRank(keyHigh, keyLow, i)) * K;
    const shift = 32 - RANK_BITS * ((i % RANKS_PER_KEY) + 1);
    let best = -Infinity;
    this.bestChild = -1;
    for (let r = 0; r < k; r++) {
      if (repeated[i * K + r] === 1) continue;
      if (model !== null) this.scoreLm(model, state, tokens[i * k + r]!, row < 0 ? UNKNOWN : this.bigrams[row + r]!);
      const now = score + edgeScore(alpha, logProbs[i * k + r]!, this.lm);
      const bound = now + toGo[i * K + r]!;
      if (bound < leaves[pBest - 1]!) continue;
      const high = i < RANKS_PER_KEY ? (keyHigh | (r << shift)) >>> 0 : keyHigh;
      const low = i < RANKS_PER_KEY ? keyLow : (keyLow | (r << shift)) >>> 0;
      if (i + 1 === columns) this.addLeaf(now);
      const child = heap.push(now, bound, high, low, this.nextState, i + 1);
      if (bound > best) {
        best = bound;
        this.bestChild = child;
      }
    }
  }

  private addLeaf(score: number): void {
    const { leaves, pBest } = this;
    let at = pBest - 1;
    for (; at > 0 && leaves[at - 1]! < score; at--) leaves[at] = leaves[at - 1]!;
    leaves[at] = score;
  }

  /** As model.score, but takes the bigram's entry from `bigram` where that is known. Sets `lm` and `nextState`. */
  private scoreLm(model: NgramModel, state: LmState, token: number, bigram: number): void {
    if (bigram === UNKNOWN || !model.has(token)) {
      this.lm = model.score(state, token);
      this.nextState = model.next;
      return;
    }
    const { backoffs, backoffTable, probTable, probs } = model.arrays;
    let context = state;
    let backoff = 0;
    let entry = token;
    while (context !== EMPTY_STATE) {
      entry = model.isOneToken(context) ? bigram : model.find(context, token);
      if (entry >= 0) break;
      backoff += backoffTable[backoffs[context]!]!;
      context = model.suffix(context);
    }
    if (context === EMPTY_STATE) entry = token;
    this.lm = backoff + probTable[probs[entry]!]!;
    let next = model.contextOf(entry);
    while (next === EMPTY_STATE && context !== EMPTY_STATE) {
      context = model.suffix(context);
      if (context === EMPTY_STATE) next = model.contextOf(token);
      else next = model.contextOf(model.isOneToken(context) ? bigram : model.find(context, token));
    }
    this.nextState = next;
  }
}

function lastRank(keyHigh: number, keyLow: number, depth: number): number {
  const column = depth - 1;
  const key = column < RANKS_PER_KEY ? keyHigh : keyLow;
  return (key >>> (32 - RANK_BITS * ((column % RANKS_PER_KEY) + 1))) & (K - 1);
}
