import { copyInto } from "./grow.ts";

/**
 * A binary heap of slots, numbers by which its user knows what it has stored elsewhere. `before` is a strict order; what
 * it compares may not change while a slot is in the heap. Allocates only where it has to grow.
 */
export class SlotHeap {
  /** Slots in it. */
  size = 0;
  private slots: Int32Array;
  private readonly before: (a: number, b: number) => boolean;

  constructor(capacity: number, before: (a: number, b: number) => boolean) {
    this.slots = new Int32Array(capacity);
    this.before = before;
  }

  clear(): void {
    this.size = 0;
  }

  /** The first in order; -1 where it is empty. */
  peek(): number {
    return this.size === 0 ? -1 : this.slots[0]!;
  }

  push(slot: number): void {
    if (this.size === this.slots.length) this.slots = copyInto(new Int32Array(2 * this.size), this.slots);
    const { slots, before } = this;
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(slot, slots[parent]!)) break;
      slots[at] = slots[parent]!;
      at = parent;
    }
    slots[at] = slot;
  }

  /** Takes out the first in order; -1 where it is empty. */
  pop(): number {
    if (this.size === 0) return -1;
    const { slots, before } = this;
    const top = slots[0]!;
    const size = --this.size;
    const slot = slots[size]!;
    let at = 0;
    for (let child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && before(slots[child + 1]!, slots[child]!)) child++;
      if (!before(slots[child]!, slot)) break;
      slots[at] = slots[child]!;
      at = child;
    }
    slots[at] = slot;
    return top;
  }
}
