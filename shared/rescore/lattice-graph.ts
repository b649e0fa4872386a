import type { LogProb } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { EMPTY_STATE, type LmState, lowerBound, type NgramModel } from "../ngram/model.ts";
import { copyInto } from "./grow.ts";

/**
 * Scores are sums of integers (units of 2^-24 nat), so that they are exact, associative and tie alike on every
 * machine. A head's -Infinity counts as this floor: with alpha = 1 such a candidate is still the LM's to choose.
 */
const SCALE = 1 << 24;
const FLOOR: LogProb = -1e4;

/** One path step: (1 - alpha) log p_head + alpha log p_lm, in units of 2^-24 nat. */
export function edgeScore(alpha: number, head: LogProb, lm: LogProb): number {
  return toUnits(headTerm(alpha, head) + alpha * lm);
}

const headTerm = (alpha: number, head: LogProb): number => (1 - alpha) * (head > FLOOR ? head : FLOOR);

const toUnits = (nats: number): number => Math.round(nats * SCALE);

/** Row width: candidates of a column. */
export const K = LIMITS.topK;
const COLUMNS = LIMITS.latticeHeads;
/** Depths of a path, 0 to 16, fit below this. */
const DEPTHS = 32;
const FIRST_NODES = 256;
const NO_BIGRAM = -1;
/** Contexts with more children than this are searched for each candidate; others are merged with the column. */
const MERGE_UP_TO = 16;

/** How far a node is filled in. */
const BARE = 0;
const SCORED = 1;
const LINKED = 2;

/**
 * The product of a lattice and an n-gram model, built as far as it is asked for. A *node* is (columns passed, LM
 * state); its edges are the candidates of the next column. A row of LM scores is made from the suffix's row: every
 * candidate backs off, then the few that the context knows are put in. `best[node]` bounds the score still to come
 * from above; it starts as a bigram relaxation of the model (the pack stores, per bigram, the highest probability
 * that any longer history gives it) and tightens as edges become known. Nothing is allocated once the arrays have
 * grown.
 */
export class LatticeGraph {
  /** [nodes] bound of the score still to come */
  best = new Float64Array(FIRST_NODES);
  /** [nodes] best score of a prefix ending here, as far as known; for the search */
  reached = new Float64Array(FIRST_NODES);
  /** [nodes * K] edge scores, by rank; -Infinity where an earlier rank holds the same token */
  edge = new Float64Array(FIRST_NODES * K);
  /** [nodes * K] bound of edge and what follows */
  gain = new Float64Array(FIRST_NODES * K);
  /** [nodes] columns passed */
  depth = new Uint8Array(FIRST_NODES);
  /** Candidates a column, columns in use. */
  k = 0;
  columns = 0;

  private readonly model: NgramModel | null;
  private readonly alpha: number;
  /** [nodes] */
  private state = new Uint32Array(FIRST_NODES);
  private filled = new Uint8Array(FIRST_NODES);
  /** [nodes * K] LM scores, LM states after the edges, and their nodes or -1 */
  private lm = new Float64Array(FIRST_NODES * K);
  private after = new Uint32Array(FIRST_NODES * K);
  private next = new Int32Array(FIRST_NODES * K);
  private count = 0;
  /** Open addressing: (state, depth) -> node; valid where the stamp is this round's. */
  private tableKey = new Float64Array(4 * FIRST_NODES);
  private tableNode = new Int32Array(4 * FIRST_NODES);
  private tableStamp = new Uint32Array(4 * FIRST_NODES);
  private stamp = 0;

  private readonly tokens = new Uint32Array(COLUMNS * K);
  /** [columns * K] the heads' part of each edge, nats */
  private readonly heads = new Float64Array(COLUMNS * K);
  /** [columns * K] 0 for a token outside the model's vocabulary, which scores the same after any history; else 1 */
  private readonly known = new Float64Array(COLUMNS * K);
  /** [columns * K] one-token context of each candidate */
  private readonly contexts = new Uint32Array(COLUMNS * K);
  /** [columns * K] ranks by rising token, repeated tokens left out; `distinct` of them per column */
  private readonly byToken = new Uint8Array(COLUMNS * K);
  private readonly distinct = new Uint8Array(COLUMNS);
  /** [columns * K] bound of the score after choosing that rank */
  private readonly toGo = new Float64Array(COLUMNS * K);
  /** [columns * K * K] bigram entry of (rank before, rank), or NO_BIGRAM */
  private readonly bigrams = new Int32Array(COLUMNS * K * K);

  constructor(model: NgramModel | null, alpha: number) {
    this.model = model;
    this.alpha = alpha;
  }

  /** Starts over; returns the node before the first column. */
  reset(lattice: Lattice, columns: number, state: LmState): number {
    this.k = lattice.k;
    this.columns = columns;
    this.count = 0;
    this.stamp = (this.stamp + 1) >>> 0;
    if (this.stamp === 0) {
      this.tableStamp.fill(0);
      this.stamp = 1;
    }
    for (let i = 0; i < columns; i++) this.copyColumn(lattice, i);
    this.toGo.fill(0, (columns - 1) * K, columns * K);
    for (let i = columns - 1; i > 0; i--) {
      for (let r = 0; r < this.k; r++) this.toGo[(i - 1) * K + r] = this.relax(i, r);
    }
    return this.nodeAt(0, state, Infinity);
  }

  /** Fills in a node's edges on first use, and what they say of `gain` and `best`. */
  expand(node: number): void {
    if (this.filled[node] === LINKED) return;
    this.link(node, this.depth[node]!);
    this.refresh(node);
  }

  /** Brings `gain` and `best` up to date with what is known beyond the edges; nothing for a node without edges. */
  refresh(node: number): void {
    if (this.filled[node] !== LINKED) return;
    const depth = this.depth[node]!;
    const { edge, gain, next, best, toGo, k } = this;
    let bound = -Infinity;
    for (let r = 0; r < k; r++) {
      const at = node * K + r;
      const after = next[at]!;
      const value = edge[at]! + (after >= 0 ? best[after]! : toGo[depth * K + r]!);
      gain[at] = value;
      if (value > bound) bound = value;
    }
    best[node] = bound;
  }

  /** The rank of highest gain of an expanded node, the lowest on a tie. */
  likeliest(node: number): number {
    let rank = 0;
    for (let r = 1; r < this.k; r++) if (this.gain[node * K + r]! > this.gain[node * K + rank]!) rank = r;
    return rank;
  }

  /** The node after edge `rank` of an expanded node. */
  follow(node: number, rank: number): number {
    const at = node * K + rank;
    if (this.next[at]! < 0) {
      const depth = this.depth[node]!;
      const after = this.nodeAt(depth + 1, this.after[at]!, this.toGo[depth * K + rank]!);
      this.next[at] = after;
    }
    return this.next[at]!;
  }

  private copyColumn(lattice: Lattice, i: number): void {
    const { model, tokens, byToken } = this;
    const { k } = lattice;
    const base = i * K;
    let distinct = 0;
    for (let r = 0; r < k; r++) {
      const token = lattice.tokens[i * k + r]!;
      tokens[base + r] = token;
      this.heads[base + r] = headTerm(this.alpha, lattice.logProbs[i * k + r]!);
      this.known[base + r] = model?.has(token) ? 1 : 0;
      this.contexts[base + r] = model?.has(token) ? model.contextOf(token) : EMPTY_STATE;
      let at = distinct;
      while (at > 0 && tokens[base + byToken[base + at - 1]!]! > token) at--;
      if (at > 0 && tokens[base + byToken[base + at - 1]!] === token) continue;
      for (let j = distinct; j > at; j--) byToken[base + j] = byToken[base + j - 1]!;
      byToken[base + at] = r;
      distinct++;
    }
    this.distinct[i] = distinct;
  }

  /** Bound of the score from column i on after rank `before` of the column before; notes the bigrams on the way. */
  private relax(i: number, before: number): number {
    const { model, alpha, toGo, bigrams, tokens, heads, byToken } = this;
    const row = (i * K + before) * K;
    const context = this.contexts[(i - 1) * K + before]!;
    let best = -Infinity;
    let from = context === EMPTY_STATE ? 0 : model!.childStart(context);
    const end = context === EMPTY_STATE ? 0 : model!.childStart(context + 1);
    for (let j = 0, n = this.distinct[i]!; j < n; j++) {
      const r = byToken[i * K + j]!;
      let lm = 0;
      if (model !== null) {
        const token = tokens[i * K + r]!;
        const { words } = model.arrays;
        from = lowerBound(words, from, end, token);
        const entry = from < end && words[from] === token ? model.entryAt(from) : NO_BIGRAM;
        bigrams[row + r] = entry;
        lm = entry >= 0 ? model.bigramBound(entry) : model.backoffBound(context, token);
      }
      const bound = toUnits(heads[i * K + r]! + alpha * lm) + toGo[i * K + r]!;
      if (bound > best) best = bound;
    }
    return best;
  }

  private link(node: number, depth: number): void {
    if (this.filled[node] === BARE) this.score(node, depth);
    const { edge, lm, next, heads, byToken, alpha } = this;
    const row = node * K;
    edge.fill(-Infinity, row, row + K);
    next.fill(-1, row, row + K);
    for (let j = 0, n = this.distinct[depth]!; j < n; j++) {
      const r = byToken[depth * K + j]!;
      edge[row + r] = toUnits(heads[depth * K + r]! + alpha * lm[row + r]!);
    }
    this.filled[node] = LINKED;
  }

  /** Fills in a node's LM scores and states; its suffix's first. */
  private score(node: number, depth: number): void {
    const { model } = this;
    const context = this.state[node]!;
    const row = node * K;
    if (model === null || context === EMPTY_STATE) {
      for (let r = 0; r < this.k; r++) {
        const token = this.tokens[depth * K + r]!;
        this.lm[row + r] = model === null ? 0 : model.score(EMPTY_STATE, token);
        this.after[row + r] = this.contexts[depth * K + r]!;
      }
    } else {
      const suffix = this.nodeAt(depth, model.suffix(context), Infinity);
      if (this.filled[suffix] === BARE) this.score(suffix, depth);
      const { lm, after, known, k } = this;
      const backoff = model.backoff(context);
      for (let r = 0; r < k; r++) {
        lm[row + r] = backoff * known[depth * K + r]! + lm[suffix * K + r]!;
        after[row + r] = after[suffix * K + r]!;
      }
      if (depth > 0 && model.isOneToken(context)) this.putBigrams(model, row, depth, context);
      else this.putChildren(model, row, depth, context);
    }
    this.filled[node] = SCORED;
  }

  /** Puts in what a one-token context knows, from the bigrams noted by `relax`. */
  private putBigrams(model: NgramModel, row: number, depth: number, context: LmState): void {
    let before = 0;
    while (this.contexts[(depth - 1) * K + before] !== context) before++;
    for (let j = 0, n = this.distinct[depth]!; j < n; j++) {
      const r = this.byToken[depth * K + j]!;
      const entry = this.bigrams[(depth * K + before) * K + r]!;
      if (entry !== NO_BIGRAM) this.put(model, row + r, entry);
    }
  }

  /** Puts in the context's children that the column holds; both are sorted by token. */
  private putChildren(model: NgramModel, row: number, depth: number, context: LmState): void {
    const { words } = model.arrays;
    const { tokens, byToken } = this;
    const n = this.distinct[depth]!;
    const end = model.childStart(context + 1);
    let from = model.childStart(context);
    const merge = end - from <= MERGE_UP_TO;
    for (let j = 0; j < n && from < end; j++) {
      const r = byToken[depth * K + j]!;
      const token = tokens[depth * K + r]!;
      if (merge) while (from < end && words[from]! < token) from++;
      else from = lowerBound(words, from, end, token);
      if (from < end && words[from] === token) this.put(model, row + r, model.entryAt(from));
    }
  }

  private put(model: NgramModel, at: number, entry: number): void {
    this.lm[at] = model.logProbAt(entry);
    // An entry that is no context leaves the state that its suffix leaves, which is there already.
    const context = model.contextOf(entry);
    if (context !== EMPTY_STATE) this.after[at] = context;
  }

  private nodeAt(depth: number, state: LmState, bound: number): number {
    if (this.count === this.best.length) this.grow();
    const key = state * DEPTHS + depth;
    const at = this.slotOf(key);
    if (this.tableStamp[at] === this.stamp) {
      const node = this.tableNode[at]!;
      if (bound < this.best[node]!) this.best[node] = bound;
      return node;
    }
    const node = this.count++;
    this.tableStamp[at] = this.stamp;
    this.tableKey[at] = key;
    this.tableNode[at] = node;
    this.state[node] = state;
    this.depth[node] = depth;
    this.best[node] = bound;
    this.reached[node] = -Infinity;
    this.filled[node] = BARE;
    return node;
  }

  private slotOf(key: number): number {
    const mask = this.tableKey.length - 1;
    let at = (Math.imul(key, 0x9e3779b1) >>> 8) & mask;
    while (this.tableStamp[at] === this.stamp && this.tableKey[at] !== key) at = (at + 1) & mask;
    return at;
  }

  private grow(): void {
    const nodes = 2 * this.best.length;
    this.best = copyInto(new Float64Array(nodes), this.best);
    this.reached = copyInto(new Float64Array(nodes), this.reached);
    this.edge = copyInto(new Float64Array(nodes * K), this.edge);
    this.gain = copyInto(new Float64Array(nodes * K), this.gain);
    this.depth = copyInto(new Uint8Array(nodes), this.depth);
    this.state = copyInto(new Uint32Array(nodes), this.state);
    this.filled = copyInto(new Uint8Array(nodes), this.filled);
    this.lm = copyInto(new Float64Array(nodes * K), this.lm);
    this.after = copyInto(new Uint32Array(nodes * K), this.after);
    this.next = copyInto(new Int32Array(nodes * K), this.next);
    this.tableKey = new Float64Array(4 * nodes);
    this.tableNode = new Int32Array(4 * nodes);
    this.tableStamp = new Uint32Array(4 * nodes);
    for (let node = 0; node < this.count; node++) {
      const key = this.state[node]! * DEPTHS + this.depth[node]!;
      const at = this.slotOf(key);
      this.tableStamp[at] = this.stamp;
      this.tableKey[at] = key;
      this.tableNode[at] = node;
    }
  }
}
