import { copyInto } from "../grow.ts";

const FIRST_SLOTS = 1024;

/**
 * Hypotheses of the path search in typed arrays, and a binary heap over them: highest bound first, then lowest keys,
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
  private heap = new Int32Array(FIRST_SLOTS);
  private slots = 0;
  private size = 0;

  clear(): void {
    this.slots = 0;
    this.size = 0;
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
    this.rise(this.size++, slot);
  }

  /** The first slot in order, or -1. */
  pop(): number {
    if (this.size === 0) return -1;
    const top = this.heap[0]!;
    const last = this.heap[--this.size]!;
    if (this.size > 0) this.sink(0, last);
    return top;
  }

  private before(a: number, b: number): boolean {
    const difference = this.bound[a]! - this.bound[b]!;
    if (difference !== 0) return difference > 0;
    if (this.keyHigh[a] !== this.keyHigh[b]) return this.keyHigh[a]! < this.keyHigh[b]!;
    return this.keyLow[a]! < this.keyLow[b]!;
  }

  private sink(from: number, slot: number): void {
    const { heap, size } = this;
    let at = from;
    for (let child = 2 * at + 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && this.before(heap[child + 1]!, heap[child]!)) child++;
      if (!this.before(heap[child]!, slot)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = slot;
  }

  private rise(from: number, slot: number): void {
    const { heap } = this;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.before(slot, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = slot;
  }

  private grow(): void {
    const slots = 2 * this.score.length;
    this.score = copyInto(new Float64Array(slots), this.score);
    this.bound = copyInto(new Float64Array(slots), this.bound);
    this.keyHigh = copyInto(new Uint32Array(slots), this.keyHigh);
    this.keyLow = copyInto(new Uint32Array(slots), this.keyLow);
    this.node = copyInto(new Uint32Array(slots), this.node);
    this.depth = copyInto(new Uint8Array(slots), this.depth);
    this.heap = copyInto(new Int32Array(slots), this.heap);
  }
}
