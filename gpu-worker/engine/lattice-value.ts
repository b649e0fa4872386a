import type { Rates } from "./costs.ts";

/** Average outcome of a step's draft. */
interface Outcome {
  /** Drafted nodes verified. */
  verified: number;
  /** Of those, accepted. */
  accepted: number;
}

/** Steps until a lattice that does not pay is tried again: doubled with each try, up to the second. */
const PROBE_STEPS = 32;
const MOST_PROBE_STEPS = 256;

/**
 * Whether lattices are worth their time: by what drafts made after one have saved beyond the others, their rows paid
 * for. Many sessions in a pass make a token cheap, and with it what a draft saves, but not a lattice.
 */
export class LatticeValue {
  readonly #memory: number;
  readonly #after: Outcome;
  readonly #without: Outcome;
  #hadLattice = false;
  #stepsWithout = 0;
  #probeSteps = PROBE_STEPS;

  /** `memory`: steps that an average is over. Begins with the averages of `from`; without it, as if lattices paid. */
  constructor(memory: number, from?: LatticeValue) {
    this.#memory = memory;
    this.#after = from === undefined ? { verified: 1, accepted: 1 } : { ...from.#after };
    this.#without = from === undefined ? { verified: 0, accepted: 0 } : { ...from.#without };
  }

  /** The next step makes one. */
  pays({ token, row, lattice }: Rates): boolean {
    if (this.#stepsWithout >= this.#probeSteps) return true;
    const saved = ({ verified, accepted }: Outcome) => accepted * token - verified * row;
    return saved(this.#after) - saved(this.#without) >= lattice;
  }

  /** What became of a step's draft. Returns whether a lattice was there to make it from. */
  drafted({ verified, accepted }: Readonly<Outcome>, after = this.#hadLattice): boolean {
    const average = after ? this.#after : this.#without;
    average.verified += (verified - average.verified) / this.#memory;
    average.accepted += (accepted - average.accepted) / this.#memory;
    return after;
  }

  /** Whether a step has made one. */
  made(lattice: boolean): void {
    if (!lattice) this.#stepsWithout++;
    else {
      const probe = this.#stepsWithout >= this.#probeSteps;
      this.#probeSteps = probe ? Math.min(2 * this.#probeSteps, MOST_PROBE_STEPS) : PROBE_STEPS;
      this.#stepsWithout = 0;
    }
    this.#hadLattice = lattice;
  }
}
