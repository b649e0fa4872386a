import type { LmState } from "../ngram/model.ts";

const FIRST_SLOTS = 1024;
/** Depths of a path, 0 to 16, fit below this. */
const DEPTHS = 32;

/**
 * Hypotheses of the path search in typed arrays, a binary heap over them (highest bound first, then lowest keys,
 * i.e. lowest ranks in earlier columns), and how often each (depth, state) has left the heap.
 */
export class PathHeap {
  /** [slots] score so far */
  score = new Float64Array(FIRST_SLOTS);
  /** [slots] score so far plus bound of the rest */
  bound = new Float64Array(FIRST_SLOTS);
  /** [slots] ranks of columns 0-7 and 8-15, four bits each, first column highest */
  keyHigh = new Uint32Array(FIRST_SLOTS);
  keyLow = new Uint32Array(FIRST_SLOTS);
  state = new Uint32Array(FIRST_SLOTS);
  depth = new Uint8Array(FIRST_SLOTS);
  private heap = new Int32Array(FIRST_SLOTS);
  private slots = 0;
  private size = 0;
  /** Open-addressing table: (state, depth) -> times admitted; an entry counts if its stamp is this round's. */
  private tableKey = new Float64Array(FIRST_SLOTS);
  private tableStamp = new Uint32Array(FIRST_SLOTS);
  private tableCount = new Uint8Array(FIRST_SLOTS);
  private stamp = 0;
  private used = 0;

  clear(): void {
    this.slots = 0;
    this.size = 0;
    this.used = 0;
    this.stamp = (this.stamp + 1) >>> 0;
    if (this.stamp === 0) {
      this.tableStamp.fill(0);
      this.stamp = 1;
    }
  }

  /** Stores a hypothesis outside the heap; returns its slot. */
  add(score: number, bound: number, keyHigh: number, keyLow: number, state: LmState, depth: number): number {
    if (this.slots === this.score.length) this.growSlots();
    const slot = this.slots++;
    this.score[slot] = score;
    this.bound[slot] = bound;
    this.keyHigh[slot] = keyHigh;
    this.keyLow[slot] = keyLow;
    this.state[slot] = state;
    this.depth[slot] = depth;
    return slot;
  }

  push(score: number, bound: number, keyHigh: number, keyLow: number, state: LmState, depth: number): number {
    const slot = this.add(score, bound, keyHigh, keyLow, state, depth);
    const { heap } = this;
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.before(slot, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = slot;
    return slot;
  }

  /** The first slot in order, or -1. */
  pop(): number {
    if (this.size === 0) return -1;
    const top = this.heap[0]!;
    const last = this.heap[--this.size]!;
    if (this.size > 0) this.sink(0, last);
    return top;
  }

  /** Removes a slot from the middle, if it is in the heap. */
  take(slot: number): void {
    let at = this.size - 1;
    while (at >= 0 && this.heap[at] !== slot) at--;
    if (at < 0) return;
    const last = this.heap[--this.size]!;
    if (at === this.size) return;
    this.sink(at, last);
    this.rise(at);
  }

  /** Whether this (depth, state) has left the heap fewer than `limit` times; counts this one. */
  admit(slot: number, limit: number): boolean {
    if (2 * this.used >= this.tableKey.length) this.growTable();
    const key = this.state[slot]! * DEPTHS + this.depth[slot]!;
    const at = this.find(key);
    if (this.tableStamp[at] !== this.stamp) {
      this.tableStamp[at] = this.stamp;
      this.tableKey[at] = key;
      this.tableCount[at] = 0;
      this.used++;
    }
    if (this.tableCount[at]! >= limit) return false;
    this.tableCount[at] = this.tableCount[at]! + 1;
    return true;
  }

  private find(key: number): number {
    const mask = this.tableKey.length - 1;
    let at = (Math.imul(key, 0x9e3779b1) >>> 12) & mask;
    while (this.tableStamp[at] === this.stamp && this.tableKey[at] !== key) at = (at + 1) & mask;
    return at;
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

  private rise(from: number): void {
    const { heap } = this;
    const slot = heap[from]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.before(slot, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = slot;
  }

  private growSlots(): void {
    const grow = <T extends { length: number; set(from: T): void }>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    const n = 2 * this.score.length;
    this.score = grow(this.score, new Float64Array(n));
    this.bound = grow(this.bound, new Float64Array(n));
    this.keyHigh = grow(this.keyHigh, new Uint32Array(n));
    this.keyLow = grow(this.keyLow, new Uint32Array(n));
    this.state = grow(this.state, new Uint32Array(n));
    this.depth = grow(this.depth, new Uint8Array(n));
    this.heap = grow(this.heap, new Int32Array(n));
  }

  private growTable(): void {
    const { tableKey, tableStamp, tableCount } = this;
    const n = 2 * tableKey.length;
    this.tableKey = new Float64Array(n);
    this.tableStamp = new Uint32Array(n);
    this.tableCount = new Uint8Array(n);
    for (let i = 0; i < tableKey.length; i++) {
      if (tableStamp[i] !== this.stamp) continue;
      const at = this.find(tableKey[i]!);
      this.tableKey[at] = tableKey[i]!;
      this.tableStamp[at] = this.stamp;
      this.tableCount[at] = tableCount[i]!;
    }
  }
}
