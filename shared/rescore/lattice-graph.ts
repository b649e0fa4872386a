import type { Lattice } from "../lattice.ts";
import { CODES } from "../ngram/layout.ts";
import { EMPTY_STATE, type LmState, lowerBound, type NgramModel } from "../ngram/model.ts";
import { copyInto } from "./grow.ts";
import { COLUMNS, edgeScore, K, LatticeColumns } from "./lattice-columns.ts";

/** Depths of a path, 0 to 16, fit below this. */
const DEPTHS = 32;
const FIRST_NODES = 256;
const NO_BIGRAM = -1;
/** Contexts with more children than this are searched for each candidate; others are merged with the column. */
const MERGE_UP_TO = 16;

/** How far a node is filled in: not at all, its edges' scores, what follows the edges too. */
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
  /** [nodes * K] edge scores by rank; -Infinity where an earlier rank holds the same token */
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
  /** [nodes * K] LM states after the edges, and their nodes or -1 */
  private after = new Uint32Array(FIRST_NODES * K);
  private next = new Int32Array(FIRST_NODES * K);
  private count = 0;
  /** Open addressing: (state, depth) -> node; valid where the stamp is this round's. */
  private tableKey = new Float64Array(4 * FIRST_NODES);
  private tableNode = new Int32Array(4 * FIRST_NODES);
  private tableStamp = new Uint32Array(4 * FIRST_NODES);
  private stamp = 0;

  private readonly column: LatticeColumns;
  /** [columns * K] bound of the score after choosing that rank */
  private readonly toGo = new Float64Array(COLUMNS * K);
  /** [columns * K * K] bigram entry of (rank before, rank), or NO_BIGRAM */
  private readonly bigrams = new Int32Array(COLUMNS * K * K);

  /** [codes] the pack's tables in units of a score */
  private readonly probUnits = new Float64Array(CODES);
  private readonly backoffUnits = new Float64Array(CODES);

  constructor(model: NgramModel | null, alpha: number) {
    this.model = model;
    this.alpha = alpha;
    this.column = new LatticeColumns(model, alpha);
    for (let code = 0; model !== null && code < CODES; code++) {
      this.probUnits[code] = edgeScore(alpha, 0, model.arrays.probTable[code]!);
      this.backoffUnits[code] = edgeScore(alpha, 0, model.arrays.backoffTable[code]!);
    }
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
    this.column.copy(lattice, columns);
    this.toGo.fill(0, (columns - 1) * K, columns * K);
    for (let i = columns - 1; i > 0; i--) {
      for (let r = 0; r < this.k; r++) this.toGo[(i - 1) * K + r] = this.relax(i, r);
    }
    return this.nodeAt(0, state, Infinity);
  }

  /** Fills in a node's edges on first use, and what they say of `gain` and `best`. */
  expand(node: number): void {
    if (this.filled[node] === LINKED) return;
    const depth = this.depth[node]!;
    if (this.filled[node] === BARE) this.score(node, depth);
    this.next.fill(-1, node * K, node * K + K);
    this.filled[node] = LINKED;
    this.refresh(node);
  }

  /** Brings `gain` and `best` up to date with what is known beyond the edges; nothing for a node without edges. */
  refresh(node: number): void {
    if (this.filled[node] !== LINKED) return;
    const column = this.depth[node]! * K;
    const { edge, gain, next, best, toGo } = this;
    let bound = -Infinity;
    for (let at = node * K, r = column, end = column + this.k; r < end; at++, r++) {
      const after = next[at]!;
      const value = edge[at]! + (after >= 0 ? best[after]! : toGo[r]!);
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

  /** Bound of the score from column i on after rank `before` of the column before; notes the bigrams on the way. */
  private relax(i: number, before: number): number {
    const { model, toGo, bigrams, probUnits, backoffUnits } = this;
    const { heads, byToken, known, unigrams, tokens, contexts, distinct } = this.column;
    const row = (i * K + before) * K;
    const context = contexts[(i - 1) * K + before]!;
    const start = model === null || context === EMPTY_STATE ? 0 : model.childStart(context);
    const end = model === null || context === EMPTY_STATE ? 0 : model.childStart(context + 1);
    let backoff = 0;
    if (model !== null) {
      backoff = backoffUnits[model.arrays.backoffs[context]!]! + edgeScore(this.alpha, 0, model.excess(context));
    }
    let best = -Infinity;
    for (let j = 0, from = start, n = distinct[i]!; j < n; j++) {
      const at = i * K + byToken[i * K + j]!;
      let bound = heads[at]! + toGo[at]!;
      if (model !== null) {
        const { words, bounds } = model.arrays;
        from = lowerBound(words, from, end, tokens[at]!);
        const found = from < end && words[from] === tokens[at];
        bigrams[row + at - i * K] = found ? model.entryAt(from) : NO_BIGRAM;
        bound += found ? probUnits[bounds[from]!]! : unigrams[at]! + known[at]! * backoff;
      }
      if (bound > best) best = bound;
    }
    return best;
  }

  /** Fills in a node's edge scores and the states after them; its suffix's first. */
  private score(node: number, depth: number): void {
    const { model, k } = this;
    const context = this.state[node]!;
    const row = node * K;
    const column = depth * K;
    if (model === null || context === EMPTY_STATE) {
      for (let r = 0; r < k; r++) {
        this.edge[row + r] = this.column.heads[column + r]! + this.column.unigrams[column + r]!;
        this.after[row + r] = this.column.contexts[column + r]!;
      }
    } else {
      const suffix = this.nodeAt(depth, model.suffix(context), Infinity);
      if (this.filled[suffix] === BARE) this.score(suffix, depth);
      const { edge, after } = this;
      const { known } = this.column;
      const backoff = this.backoffUnits[model.arrays.backoffs[context]!]!;
      for (let r = 0, from = suffix * K; r < k; r++) {
        edge[row + r] = backoff * known[column + r]! + edge[from + r]!;
        after[row + r] = after[from + r]!;
      }
      if (depth > 0 && model.isOneToken(context)) this.putBigrams(model, row, depth, context);
      else this.putChildren(model, row, depth, context);
    }
    this.filled[node] = SCORED;
  }

  /** Puts in what a one-token context knows, from the bigrams noted by `relax`. */
  private putBigrams(model: NgramModel, row: number, depth: number, context: LmState): void {
    let before = 0;
    const { contexts, byToken, distinct } = this.column;
    while (contexts[(depth - 1) * K + before] !== context) before++;
    for (let j = 0, n = distinct[depth]!; j < n; j++) {
      const r = byToken[depth * K + j]!;
      const entry = this.bigrams[(depth * K + before) * K + r]!;
      if (entry !== NO_BIGRAM) this.put(model, row + r, depth * K + r, entry);
    }
  }

  /** Puts in the context's children that the column holds; both are sorted by token. */
  private putChildren(model: NgramModel, row: number, depth: number, context: LmState): void {
    const { words } = model.arrays;
    const { tokens, byToken, distinct } = this.column;
    const n = distinct[depth]!;
    const end = model.childStart(context + 1);
    let from = model.childStart(context);
    const merge = end - from <= MERGE_UP_TO;
    for (let j = 0; j < n && from < end; j++) {
      const r = byToken[depth * K + j]!;
      const token = tokens[depth * K + r]!;
      if (merge) while (from < end && words[from]! < token) from++;
      else from = lowerBound(words, from, end, token);
      if (from < end && words[from] === token) this.put(model, row + r, depth * K + r, model.entryAt(from));
    }
  }

  private put(model: NgramModel, at: number, candidate: number, entry: number): void {
    this.edge[at] = this.column.heads[candidate]! + this.probUnits[model.arrays.probs[entry]!]!;
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
