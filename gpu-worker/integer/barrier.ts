/** Places of the members' shared control words; the barrier's come first. */
export const CONTROL = {
  arrived: 0,
  phase: 1,
  /** Raised for each pass, to wake the members. */
  sequence: 2,
  /** 1: the members end. */
  ended: 3,
  rows: 4,
  wanted: 5,
  items: 6,
  /** 1: logits are kept for the rows being looked at. */
  logits: 7,
} as const;

/**
 * How often a member looks before it sleeps: some microseconds at least and not a millisecond at most. Being woken costs
 * more than the waiting of members with a core each. But where other processes want the cores, looking itself takes the
 * core that the others are waiting for: whoever looked in vain looks less often, until that goes well for long.
 */
const LEAST_LOOKS = 1_000;
const MOST_LOOKS = 100_000;
const MORE_LOOKS = 500;
/** A sleeper looks again after this long, ms. */
const NAP_MS = 100;

/** All members wait here for one another. What one has written before, all others see after. */
export class Barrier {
  readonly #control: Int32Array;
  readonly #members: number;
  #phase = 0;
  #looks = MOST_LOOKS;

  constructor(control: Int32Array, members: number) {
    this.#control = control;
    this.#members = members;
  }

  wait(): void {
    if (this.#members === 1) return;
    const control = this.#control;
    const before = this.#phase;
    const phase = (before + 1) | 0;
    this.#phase = phase;
    // Both counts wrap around together.
    if (((Atomics.add(control, CONTROL.arrived, 1) + 1) | 0) === Math.imul(phase, this.#members)) {
      Atomics.store(control, CONTROL.phase, phase);
      Atomics.notify(control, CONTROL.phase);
      return;
    }
    for (let look = 0; look < this.#looks; look++) {
      if (Atomics.load(control, CONTROL.phase) !== phase) continue;
      this.#looks = Math.min(MOST_LOOKS, this.#looks + MORE_LOOKS);
      return;
    }
    this.#looks = LEAST_LOOKS;
    while (Atomics.load(control, CONTROL.phase) !== phase) Atomics.wait(control, CONTROL.phase, before, NAP_MS);
  }
}
