import type { Lattice } from "../lattice.ts";
import { CODES } from "../ngram/layout.ts";
import { EMPTY_STATE, type LmState, type NgramModel } from "../ngram/model.ts";
import { copyInto } from "./grow.ts";
import { COLUMNS, edgeScore, K, LatticeColumns } from "./lattice-columns.ts";

/** Nodes of one-token histories: candidate r of column i is node i * K + r. */
const ONE_TOKEN = COLUMNS * K;
/** Then one node of the empty history before each column, then the others as they are met. */
const FIRST_FREE = ONE_TOKEN + COLUMNS;
const FIRST_NODES = 1024;
const NONE = -1;

/**
 * The product of a lattice and an n-gram model, built as far as it is asked for. A *node* is (columns passed, LM
 * state); its edges are the candidates of the next column. Every node but that of the empty history has a *shorter*
 * one, the same history without its oldest token: a row of edge scores is the shorter node's row backed off, then
 * the few candidates that the context knows put in. An edge to a candidate that the context does not know leads where
 * the shorter node's edge leads, so nodes are met without looking states up. `toGo` bounds the score still to come
 * by a bigram relaxation of the model: the pack stores, per bigram, the highest probability that any longer history
 * gives it. Nothing is allocated once the arrays have grown.
 */
export class LatticeGraph {
  /** [nodes * K] edge scores by rank in rows filled in; -Infinity where an earlier rank holds the same token */
  edge = new Float64Array(FIRST_NODES * K);
  /** [nodes] columns passed */
  depth = new Uint8Array(FIRST_NODES);
  /** [nodes] for the search: best score of a prefix ending here, of what follows, and which edges (bit r) may matter */
  reached = new Float64Array(FIRST_NODES);
  best = new Float64Array(FIRST_NODES);
  open = new Uint16Array(FIRST_NODES);
  /** [columns * K] bound of the score to come after that candidate */
  readonly toGo = new Float64Array(COLUMNS * K);
  /** Candidates a column, columns in use, nodes so far. */
  k = 0;
  columns = 0;
  count = 0;

  private readonly model: NgramModel | null;
  private readonly alpha: number;
  private readonly column: LatticeColumns;
  /** [nodes] LM state, the node with a shorter history, and 1 once the row is filled in */
  private context = new Uint32Array(FIRST_NODES);
  private shorter = new Int32Array(FIRST_NODES);
  private scored = new Uint8Array(FIRST_NODES);
  /** [nodes * K] entry of the candidate after the node's own context, or NONE; for one-token nodes set by `relax` */
  private entries = new Int32Array(FIRST_NODES * K);
  /** [nodes * K] node after the edge, or NONE as long as nobody asked */
  private next = new Int32Array(FIRST_NODES * K);
  /** [codes] the pack's tables in units of a score */
  private readonly probUnits = new Float64Array(CODES);
  private readonly backoffUnits = new Float64Array(CODES);
  /** [bigrams] code of the highest probability after any history that the model keeps */
  private readonly bounds: Uint8Array;

  constructor(model: NgramModel | null, alpha: number) {
    this.model = model;
    this.alpha = alpha;
    this.column = new LatticeColumns(model, alpha);
    this.bounds = model?.bigramBounds() ?? new Uint8Array(0);
    for (let code = 0; model !== null && code < CODES; code++) {
      this.probUnits[code] = edgeScore(alpha, 0, model.arrays.probTable[code]!);
      this.backoffUnits[code] = edgeScore(alpha, 0, model.arrays.backoffTable[code]!);
    }
    this.entries.fill(NONE);
    for (let i = 0; i < COLUMNS; i++) {
      this.depth.fill(i + 1, i * K, i * K + K);
      this.shorter.fill(ONE_TOKEN + i + 1, i * K, i * K + K);
      this.depth[ONE_TOKEN + i] = i;
      this.shorter[ONE_TOKEN + i] = NONE;
    }
  }

  /** Starts over; returns the node before the first column. */
  reset(lattice: Lattice, columns: number, state: LmState): number {
    this.k = lattice.k;
    this.columns = columns;
    this.count = FIRST_FREE;
    this.column.copy(lattice, columns);
    this.context.set(this.column.contexts);
    this.scored.fill(0, 0, FIRST_FREE);
    this.reached.fill(-Infinity, 0, FIRST_FREE);
    this.toGo.fill(0, (columns - 1) * K, columns * K);
    for (let i = columns - 1; i > 0; i--) {
      for (let r = 0; r < this.k; r++) this.toGo[(i - 1) * K + r] = this.relax((i - 1) * K + r, i);
    }
    return this.rootOf(state);
  }

  /** Fills in a node's edge scores on first use; its shorter node's first. */
  score(node: number): void {
    if (this.scored[node] === 1) return;
    this.scored[node] = 1;
    const row = node * K;
    const candidate = this.depth[node]! * K;
    const shorter = this.shorter[node]!;
    this.next.fill(NONE, row, row + K);
    if (shorter === NONE) {
      const { heads, unigrams } = this.column;
      for (let r = 0; r < this.k; r++) this.edge[row + r] = heads[candidate + r]! + unigrams[candidate + r]!;
      return;
    }
    this.score(shorter);
    if (node >= ONE_TOKEN) this.findEntries(node, candidate);
    const { model, edge, entries, probUnits } = this;
    const { heads, known } = this.column;
    const probs = model?.arrays.probs;
    const backoff = model === null ? 0 : this.backoffUnits[model.arrays.backoffs[this.context[node]!]!]!;
    for (let r = 0, from = shorter * K; r < this.k; r++) {
      const entry = entries[row + r]!;
      edge[row + r] =
        entry === NONE || probs === undefined
          ? edge[from + r]! + backoff * known[candidate + r]!
          : heads[candidate + r]! + probUnits[probs[entry]!]!;
    }
  }

  /** The node after edge `rank` of a node whose row is filled in. */
  follow(node: number, rank: number): number {
    const at = node * K + rank;
    if (this.next[at] !== NONE) return this.next[at]!;
    const shorter = this.shorter[node]!;
    let after = this.depth[node]! * K + rank;
    if (shorter !== NONE) {
      after = this.follow(shorter, rank);
      // The entry's context where it is one; an entry that is none leaves the state that its suffix leaves. That of
      // a node of the empty history is a one-token node's.
      const entry = this.entries[at]!;
      const context = entry === NONE || this.model === null ? EMPTY_STATE : this.model.contextOf(entry);
      if (context !== EMPTY_STATE) after = this.add(this.depth[node]! + 1, context, after);
    }
    this.next[at] = after;
    return after;
  }

  /** Bound of the score from column i on after a candidate of the column before. */
  private relax(node: number, i: number): number {
    const { model, toGo, entries, probUnits, backoffUnits, bounds } = this;
    const { heads, unigrams, known } = this.column;
    const context = this.context[node]!;
    let backoff = 0;
    let vocabSize = 0;
    if (model !== null) {
      this.findEntries(node, i * K);
      backoff = backoffUnits[model.arrays.backoffs[context]!]! + edgeScore(this.alpha, 0, model.excess(context));
      vocabSize = model.shape.vocabSize;
    }
    let best = -Infinity;
    for (let r = 0, row = node * K, at = i * K; r < this.k; r++, row++, at++) {
      const entry = entries[row]!;
      const lm = entry === NONE ? unigrams[at]! + known[at]! * backoff : probUnits[bounds[entry - vocabSize]!]!;
      const bound = heads[at]! + lm + toGo[at]!;
      if (bound > best) best = bound;
    }
    return best;
  }

  private findEntries(node: number, candidate: number): void {
    const { model, entries } = this;
    const context = this.context[node]!;
    if (model === null || context === EMPTY_STATE) entries.fill(NONE, node * K, node * K + K);
    else model.findEach(context, this.column.tokens, candidate, (this.k + 3) & ~3, entries, node * K);
  }

  /** The node of the history before the first column, and of every shorter one. */
  private rootOf(state: LmState): number {
    if (this.model === null || state === EMPTY_STATE) return ONE_TOKEN;
    return this.add(0, state, this.rootOf(this.model.suffix(state)));
  }

  private add(depth: number, context: LmState, shorter: number): number {
    if (this.count === this.depth.length) this.grow();
    const node = this.count++;
    this.depth[node] = depth;
    this.context[node] = context;
    this.shorter[node] = shorter;
    this.scored[node] = 0;
    this.reached[node] = -Infinity;
    return node;
  }

  private grow(): void {
    const nodes = 2 * this.depth.length;
    this.edge = copyInto(new Float64Array(nodes * K), this.edge);
    this.reached = copyInto(new Float64Array(nodes), this.reached);
    this.best = copyInto(new Float64Array(nodes), this.best);
    this.open = copyInto(new Uint16Array(nodes), this.open);
    this.depth = copyInto(new Uint8Array(nodes), this.depth);
    this.context = copyInto(new Uint32Array(nodes), this.context);
    this.shorter = copyInto(new Int32Array(nodes), this.shorter);
    this.scored = copyInto(new Uint8Array(nodes), this.scored);
    this.entries = copyInto(new Int32Array(nodes * K), this.entries);
    this.next = copyInto(new Int32Array(nodes * K), this.next);
  }
}
