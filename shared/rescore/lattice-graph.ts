import type { Lattice } from "../lattice.ts";
import { EMPTY_STATE, type LmState } from "../ngram/model.ts";
import { createBounds } from "./bigram-bounds.ts";
import type { LmScores } from "./lm-scores.ts";
import type { Workspace } from "./workspace.ts";

/**
 * The product of a lattice and an n-gram model, built as far as it is asked for. A *node* is (columns passed, LM
 * state); its edges are the slots of the next column. Every node but that of the empty history has a *shorter* one,
 * the same history without its oldest token: an edge that the node's context does not know scores as the shorter
 * node's, backed off, and leads where that one leads. So nodes are met without looking states up.
 *
 * Nodes of one-token histories come first, numbered like their rows of bounds; then the empty history before the first
 * column, then the others as they are met. No function here takes or gives a fraction, which V8 would box.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: a scope of short functions over shared constants, see workspace.ts.
export function createGraph(work: Workspace, scores: LmScores) {
  const { K, GROUP, NONE, ROOT_ROW, MAX_NODES } = work;
  const EMPTY = ROOT_ROW;
  const FIRST_FREE = EMPTY + 1;

  const { tokens, heads, toGo, unigrams, ranks, rowWidth, rowBounds, rowEntries, rowBackoff } = work;
  const { depth, shorter, row, start, end, backoff, evaluated, edge, entry, next, reached } = work;
  const { entryScore, backoffScore } = scores;
  const { resetBounds, widenRow } = createBounds(work, scores);
  let count = FIRST_FREE;

  for (let node = 0; node <= EMPTY; node++) {
    depth[node] = node === EMPTY ? 0 : Math.floor(node / K) + 1;
    row[node] = node;
  }

  /** Starts over; returns the node before the first column. */
  function resetGraph(lattice: Lattice, columns: number, state: LmState, alpha: number): number {
    count = FIRST_FREE;
    resetBounds(lattice, columns, alpha);
    evaluated.fill(0, 0, FIRST_FREE);
    reached.fill(-Infinity, 0, FIRST_FREE);
    const root = rootOf(state);
    for (let slot = 0; slot < work.slots; slot += GROUP) evaluate(root, slot);
    for (let slot = 0; slot < work.slots; slot++) {
      rowBounds[ROOT_ROW * K + slot] = edge[root * K + slot]! + toGo[slot]!;
    }
    rowWidth[ROOT_ROW] = K;
    return root;
  }

  /**
   * Evaluates the edges of a group of slots, unless bigrams tell that none of them leads to what is `wanted`; whether
   * some may.
   */
  function openGroup(node: number, slot: number): boolean {
    const of = row[node]!;
    if (rowWidth[of]! <= slot) widenRow(of);
    const { wanted } = work;
    const first = of * K + slot;
    const best = Math.max(rowBounds[first]!, rowBounds[first + 1]!, rowBounds[first + 2]!, rowBounds[first + 3]!);
    if (best < wanted) return false;
    evaluate(node, slot);
    return true;
  }

  /** The node after an evaluated edge. */
  function follow(node: number, slot: number): number {
    const at = node * K + slot;
    if (next[at] !== NONE) return next[at]!;
    const column = depth[node]! * K;
    let after = column + ranks[column + slot]!;
    if (node > EMPTY) after = follow(shorter[node]!, slot);
    // An entry that is no context leaves the state that its suffix leaves. Where memory ends, so does one that is: a
    // lattice which meets that many contexts is searched with a shorter memory there.
    const found = entry[at]!;
    const context = found === NONE ? EMPTY_STATE : work.model.contextOf(found);
    if (context !== EMPTY_STATE && count < MAX_NODES) after = add(depth[node]! + 1, context, after);
    next[at] = after;
    return after;
  }

  function evaluate(node: number, slot: number): void {
    const group = 1 << slot;
    if ((evaluated[node]! & group) !== 0) return;
    evaluated[node]! |= group;
    const first = node * K + slot;
    for (let at = first; at < first + GROUP; at++) next[at] = NONE;
    if (node > EMPTY) {
      work.model.findFour(start[node]!, end[node]!, tokens, depth[node]! * K + slot, entry, first);
      evaluate(shorter[node]!, slot);
      scoreLonger(node, slot);
    } else {
      while (rowWidth[node]! <= slot && node < EMPTY) widenRow(node);
      scoreShort(node, slot);
    }
  }

  /** After two tokens or more, or committed ones. */
  function scoreLonger(node: number, slot: number): void {
    const { vocabSize } = work.model;
    const from = shorter[node]! * K + slot;
    const weight = backoff[node]!;
    for (let j = 0, at = node * K + slot, candidate = depth[node]! * K + slot; j < GROUP; j++, at++, candidate++) {
      const found = entry[at]!;
      if (found !== NONE) edge[at] = heads[candidate]! + entryScore(found);
      else edge[at] = tokens[candidate]! < vocabSize ? edge[from + j]! + weight : edge[from + j]!;
    }
  }

  /** After one token or none. */
  function scoreShort(node: number, slot: number): void {
    const { vocabSize } = work.model;
    const weight = node === EMPTY ? 0 : rowBackoff[node]!;
    for (let j = 0, at = node * K + slot, candidate = depth[node]! * K + slot; j < GROUP; j++, at++, candidate++) {
      const found = node === EMPTY ? NONE : rowEntries[at]!;
      entry[at] = found;
      if (found !== NONE) edge[at] = heads[candidate]! + entryScore(found);
      else edge[at] = heads[candidate]! + unigrams[candidate]! + (tokens[candidate]! < vocabSize ? weight : 0);
    }
  }

  /** The node of the history before the first column, and of every shorter one. */
  function rootOf(state: LmState): number {
    if (state === EMPTY_STATE) return EMPTY;
    return add(0, state, rootOf(work.model.suffix(state)));
  }

  function add(columns: number, context: LmState, shorterNode: number): number {
    const node = count++;
    depth[node] = columns;
    shorter[node] = shorterNode;
    row[node] = row[shorterNode]!;
    start[node] = work.model.childStart(context);
    end[node] = work.model.childStart(context + 1);
    backoff[node] = backoffScore(context);
    evaluated[node] = 0;
    reached[node] = -Infinity;
    return node;
  }

  return { resetGraph, openGroup, follow };
}

export type LatticeGraph = ReturnType<typeof createGraph>;
