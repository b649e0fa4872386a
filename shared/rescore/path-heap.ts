import { copyInto } from "../grow.ts";
import { SlotHeap } from "../slot-heap.ts";

const FIRST_SLOTS = 1024;

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

  clear(): void {
    this.slots = 0;
    this.heap.clear();
  }

  /** Stores a hypothesis outside the heap, with score and bound 0 until the caller sets them; returns its slot. */
  add(keyHigh: number, keyLow: number, node: number, depth: number): number {
    if (this.slots === this.score.length) this.grow();
    const slot = this.slots++;
    this.score[slot] = 0;
    this.bound[slot] = 0;
    this.keyHigh[slot] = keyHigh;
    this.keyLow[slot] = keyLow;
    this.node[slot] = node;
    this.depth[slot] = depth;
    return slot;
  }

  /** Puts a stored hypothesis that is not in the heap into it. */
  insert(slot: number): void {
    this.heap.push(slot);
  }

  /** The first slot in order, or -1. */
  pop(): number {
    return this.heap.pop();
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
