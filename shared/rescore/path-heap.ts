import { assert } from "../assert.ts";
import { copyInto } from "../grow.ts";
import { LIMITS } from "../limits.ts";
import { SlotHeap } from "../slot-heap.ts";

const FIRST_SLOTS = 1024;
const RANK_BITS = 4;
const RANKS_PER_KEY = 32 / RANK_BITS;
assert(LIMITS.topK <= 1 << RANK_BITS && LIMITS.latticeHeads <= 2 * RANKS_PER_KEY, "a path's ranks fit two 32-bit keys");

/**
 * Hypotheses of the path search in typed arrays, and a heap over them: highest bound first, then lowest keys,
 * i.e. lowest ranks in earlier columns.
 */
export class PathHeap {
  /** [slots] score so far */
  score = new Float64Array(FIRST_SLOTS);
  /** [slots] score so far plus bound of the rest */
  bound = new Float64Array(FIRST_SLOTS);
  /** [slots] ranks of columns 0-7 and 8-15, four bits each, first column highest */
  keyHigh = new Uint32Array(FIRST_SLOTS);
  keyLow = new Uint32Array(FIRST_SLOTS);
  /** [slots] node of the lattice graph */
  node = new Uint32Array(FIRST_SLOTS);
  depth = new Uint8Array(FIRST_SLOTS);
  private readonly heap = new SlotHeap(FIRST_SLOTS, (a, b) => this.before(a, b));
  private slots = 0;

  /** Empties it but for the path of no candidates, which ends in `root`. */
  begin(root: number): void {
    this.slots = 0;
    this.heap.clear();
    this.insert(0, 0, root, 0, 0, 0);
  }

  /** Puts the path in that goes on from that of `slot` with candidate `rank` of the next column. */
  extend(slot: number, rank: number, node: number, score: number, bound: number): void {
    const column = this.depth[slot]!;
    const bits = rank << shiftOf(column);
    const high = column < RANKS_PER_KEY ? bits : 0;
    const low = column < RANKS_PER_KEY ? 0 : bits;
    this.insert((this.keyHigh[slot]! | high) >>> 0, (this.keyLow[slot]! | low) >>> 0, node, column + 1, score, bound);
  }

  /** The first slot in order, or -1. */
  pop(): number {
    return this.heap.pop();
  }

  private insert(keyHigh: number, keyLow: number, node: number, depth: number, score: number, bound: number): void {
    if (this.slots === this.score.length) this.grow();
    const slot = this.slots++;
    this.score[slot] = score;
    this.bound[slot] = bound;
    this.keyHigh[slot] = keyHigh;
    this.keyLow[slot] = keyLow;
    this.node[slot] = node;
    this.depth[slot] = depth;
    this.heap.push(slot);
  }

  private before(a: number, b: number): boolean {
    const difference = this.bound[a]! - this.bound[b]!;
    if (difference !== 0) return difference > 0;
    if (this.keyHigh[a] !== this.keyHigh[b]) return this.keyHigh[a]! < this.keyHigh[b]!;
    return this.keyLow[a]! < this.keyLow[b]!;
  }

  private grow(): void {
    const slots = 2 * this.score.length;
    this.score = copyInto(new Float64Array(slots), this.score);
    this.bound = copyInto(new Float64Array(slots), this.bound);
    this.keyHigh = copyInto(new Uint32Array(slots), this.keyHigh);
    this.keyLow = copyInto(new Uint32Array(slots), this.keyLow);
    this.node = copyInto(new Uint32Array(slots), this.node);
    this.depth = copyInto(new Uint8Array(slots), this.depth);
  }
}

/** Where a column's rank lies in the key that has it. */
function shiftOf(column: number): number {
  return 32 - RANK_BITS * ((column % RANKS_PER_KEY) + 1);
}

/** The rank in `column` of a path with these keys. */
export function rankOf(keyHigh: number, keyLow: number, column: number): number {
  const key = column < RANKS_PER_KEY ? keyHigh : keyLow;
  return (key >>> shiftOf(column)) & ((1 << RANK_BITS) - 1);
}
