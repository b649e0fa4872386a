import type { Lattice } from "../lattice.ts";
import { EMPTY_STATE, type LmState } from "../ngram/model.ts";
import { BigramBounds, GROUP, ROOT_ROW } from "./bigram-bounds.ts";
import { copyInto } from "./grow.ts";
import { K, type LatticeColumns } from "./lattice-columns.ts";
import { type LmScores, NO_LM, NONE } from "./lm-scores.ts";

/**
 * Nodes of one-token histories come first: the candidate of rank r in column i is node i * K + r, like its row of
 * bounds. Then the empty history before the first column, then the others as they are met.
 */
const EMPTY = ROOT_ROW;
const FIRST_FREE = EMPTY + 1;
const FIRST_NODES = 512;

/**
 * The product of a lattice and an n-gram model, built as far as it is asked for. A *node* is (columns passed, LM
 * state); its edges are the slots of the next column. Every node but that of the empty history has a *shorter* one,
 * the same history without its oldest token: an edge that the node's context does not know scores as the shorter
 * node's, backed off, and leads where that one leads. So nodes are met without looking states up.
 * Nothing is allocated once the arrays have grown; no method takes or gives a fraction, which V8 would box.
 */
export class LatticeGraph {
  readonly bounds = new BigramBounds();
  readonly columns: LatticeColumns = this.bounds.columns;
  /** What the rest of a path has to score to be of interest: for `open`. */
  wanted = 0;
  /** [nodes * K] edge scores by slot, once evaluated */
  edge = new Float64Array(FIRST_NODES * K);
  /** [nodes] columns passed */
  depth = new Uint8Array(FIRST_NODES);
  /** [nodes] for the search: best score of a prefix ending here, of what follows, and slots that may matter (bits) */
  reached = new Float64Array(FIRST_NODES);
  best = new Float64Array(FIRST_NODES);
  alive = new Uint16Array(FIRST_NODES);

  private count = 0;
  private lm = NO_LM;
  private model = NO_LM.model;
  /** [nodes] the node with a shorter history; the row of bounds for its last token */
  private shorter = new Int32Array(FIRST_NODES);
  row = new Int32Array(FIRST_NODES);
  /** [nodes] where the context's children start and end; its backoff weight */
  private start = new Int32Array(FIRST_NODES);
  private end = new Int32Array(FIRST_NODES);
  private backoff = new Float64Array(FIRST_NODES);
  /** [nodes] bit s: the edges of the four slots from s on are evaluated */
  private evaluated = new Uint16Array(FIRST_NODES);
  /** [nodes * K] entry of the slot's token after the node's own context, or NONE; node after the edge, or NONE yet */
  private entry = new Int32Array(FIRST_NODES * K);
  private next = new Int32Array(FIRST_NODES * K);

  constructor() {
    for (let node = 0; node <= EMPTY; node++) {
      this.depth[node] = node === EMPTY ? 0 : Math.floor(node / K) + 1;
      this.row[node] = node;
    }
  }

  /** Starts over; returns the node before the first column. */
  reset(lm: LmScores, lattice: Lattice, columns: number, state: LmState): number {
    const { bounds } = this;
    this.lm = lm;
    this.model = lm.model;
    this.count = FIRST_FREE;
    bounds.reset(lm, lattice, columns);
    this.evaluated.fill(0, 0, FIRST_FREE);
    this.reached.fill(-Infinity, 0, FIRST_FREE);
    const root = this.rootOf(state);
    for (let slot = 0; slot < this.columns.k; slot++) {
      this.evaluate(root, slot & ~(GROUP - 1));
      bounds.bounds[ROOT_ROW * K + slot] = this.edge[root * K + slot]! + this.columns.toGo[slot]!;
    }
    bounds.width[ROOT_ROW] = K;
    return root;
  }

  /**
   * Evaluates the edges of the four slots from `slot` on, a multiple of four, unless bigrams tell that none of them
   * leads to `wanted`; whether some may.
   */
  open(node: number, slot: number): boolean {
    const { bounds } = this;
    const row = this.row[node]!;
    if (bounds.width[row]! <= slot) bounds.widen(row);
    const { wanted } = this;
    const first = row * K + slot;
    const most = bounds.bounds;
    const best = Math.max(most[first]!, most[first + 1]!, most[first + 2]!, most[first + 3]!);
    if (best < wanted) return false;
    this.evaluate(node, slot);
    return true;
  }

  private evaluate(node: number, slot: number): void {
    const group = 1 << slot;
    if ((this.evaluated[node]! & group) !== 0) return;
    this.evaluated[node]! |= group;
    const { edge, entry, next, bounds } = this;
    const first = node * K + slot;
    next[first] = NONE;
    next[first + 1] = NONE;
    next[first + 2] = NONE;
    next[first + 3] = NONE;
    if (node < EMPTY) {
      while (bounds.width[node]! <= slot) bounds.widen(node);
      for (let at = first; at < first + GROUP; at++) {
        edge[at] = bounds.edges[at]!;
        entry[at] = bounds.entries[at]!;
      }
    } else if (node === EMPTY) {
      for (let j = 0; j < GROUP; j++) {
        edge[first + j] = this.columns.heads[slot + j]! + bounds.unigrams[slot + j]!;
        entry[first + j] = NONE;
      }
    } else {
      this.evaluateLonger(node, slot);
    }
  }

  private evaluateLonger(node: number, slot: number): void {
    const { edge, entry, lm, model } = this;
    const { tokens, heads } = this.columns;
    const first = node * K + slot;
    const candidate = this.depth[node]! * K + slot;
    const shorter = this.shorter[node]!;
    const backoff = this.backoff[node]!;
    model.findFour(this.start[node]!, this.end[node]!, tokens, candidate, entry, first);
    this.evaluate(shorter, slot);
    const from = shorter * K + slot;
    for (let j = 0; j < GROUP; j++) {
      const found = entry[first + j]!;
      if (found !== NONE) edge[first + j] = heads[candidate + j]! + lm.entry(found);
      else edge[first + j] = edge[from + j]! + (model.has(tokens[candidate + j]!) ? backoff : 0);
    }
  }

  /** The node after an evaluated edge. */
  follow(node: number, slot: number): number {
    const at = node * K + slot;
    if (this.next[at] !== NONE) return this.next[at]!;
    const column = this.depth[node]! * K;
    let after = column + this.columns.ranks[column + slot]!;
    if (node > EMPTY) after = this.follow(this.shorter[node]!, slot);
    // An entry that is no context leaves the state that its suffix leaves.
    const entry = this.entry[at]!;
    const context = entry === NONE ? EMPTY_STATE : this.model.contextOf(entry);
    if (context !== EMPTY_STATE) after = this.add(this.depth[node]! + 1, context, after);
    this.next[at] = after;
    return after;
  }

  /** The node of the history before the first column, and of every shorter one. */
  private rootOf(state: LmState): number {
    if (state === EMPTY_STATE) return EMPTY;
    return this.add(0, state, this.rootOf(this.model.suffix(state)));
  }

  private add(depth: number, context: LmState, shorter: number): number {
    if (this.count === this.depth.length) this.grow();
    const node = this.count++;
    this.depth[node] = depth;
    this.shorter[node] = shorter;
    this.row[node] = this.row[shorter]!;
    this.start[node] = this.model.childStart(context);
    this.end[node] = this.model.childStart(context + 1);
    this.backoff[node] = this.lm.backoff(context);
    this.evaluated[node] = 0;
    this.reached[node] = -Infinity;
    return node;
  }

  private grow(): void {
    const nodes = 2 * this.depth.length;
    this.edge = copyInto(new Float64Array(nodes * K), this.edge);
    this.depth = copyInto(new Uint8Array(nodes), this.depth);
    this.reached = copyInto(new Float64Array(nodes), this.reached);
    this.best = copyInto(new Float64Array(nodes), this.best);
    this.alive = copyInto(new Uint16Array(nodes), this.alive);
    this.shorter = copyInto(new Int32Array(nodes), this.shorter);
    this.row = copyInto(new Int32Array(nodes), this.row);
    this.start = copyInto(new Int32Array(nodes), this.start);
    this.end = copyInto(new Int32Array(nodes), this.end);
    this.backoff = copyInto(new Float64Array(nodes), this.backoff);
    this.evaluated = copyInto(new Uint16Array(nodes), this.evaluated);
    this.entry = copyInto(new Int32Array(nodes * K), this.entry);
    this.next = copyInto(new Int32Array(nodes * K), this.next);
  }
}

/** Index of the lowest set bit. */
export function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}
