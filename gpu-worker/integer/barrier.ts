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
  /** What the members are woken for, one of PROGRAM. */
  program: 8,
  /** Sessions whose lattices are made. */
  sessions: 9,
} as const;

export const PROGRAM = { pass: 0, drafts: 1 } as const;

/**
 * How often a member looks before it sleeps: for not quite a millisecond, as being woken costs more than the waiting of
 * members with a core each. But where other processes want the cores, looking takes the core that the others are waiting
 * for: after a wait so long that it must be that, it only glances for some barriers, for more the more often it happens.
 */
const LOOKS = 100_000;
const GLANCES = 1_000;
const LONG_MS = 0.3;
const LEAST_WARY = 64;
const MOST_WARY = 4_096;
/** A sleeper looks again after this long, ms. */
const NAP_MS = 100;

/** All members wait here for one another. What one has written before, all others see after. */
export class Barrier {
  readonly #control: Int32Array;
  readonly #members: number;
  #phase = 0;
  /** Barriers at which to glance after the next long wait, and those left to do so. */
  #wary = LEAST_WARY;
  #glances = 0;

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
    const looks = this.#glances > 0 ? GLANCES : LOOKS;
    for (let look = 0; look < looks; look++) if (Atomics.load(control, CONTROL.phase) === phase) return;
    this.#sleep(before, phase);
  }

  #sleep(before: number, phase: number): void {
    const from = performance.now();
    while (Atomics.load(this.#control, CONTROL.phase) !== phase) {
      Atomics.wait(this.#control, CONTROL.phase, before, NAP_MS);
    }
    if (performance.now() - from > LONG_MS) {
      this.#glances = this.#wary;
      this.#wary = Math.min(MOST_WARY, this.#wary * 2);
    } else if (this.#glances > 0 && --this.#glances === 0) {
      this.#wary = Math.max(LEAST_WARY, this.#wary / 4);
    }
  }
}
