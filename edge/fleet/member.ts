import type { Load, PassCosts, StepEngine } from "../../shared/engine.ts";
import { KnownPrefixes } from "./prefixes.ts";
import type { Candidate } from "./rank.ts";

/** First and longest time that a gpu-worker which could not be reached is left alone, ms. */
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 15_000;

/** A gpu-worker as one edge knows it. */
export class Member {
  readonly url: string;
  readonly engine: StepEngine;
  readonly prefixes = new KnownPrefixes();
  #load: Load | null = null;
  #costs: PassCosts | null = null;
  #fresh = 0;
  #pauseMs = 0;
  #downUntil = Number.NEGATIVE_INFINITY;

  constructor(url: string, engine: StepEngine) {
    this.url = url;
    this.engine = engine;
  }

  candidate(marks: readonly number[], now: number): Candidate {
    return {
      url: this.url,
      load: this.#load,
      fresh: this.#fresh,
      costs: this.#costs,
      knownTokens: this.prefixes.tokens(marks),
      // One caller finds out whether it is back, which may take long where it hangs.
      down: now < this.#downUntil || (this.#pauseMs > 0 && this.#fresh > 0),
    };
  }

  sent(): void {
    this.#fresh++;
  }

  /** Whoever was sent there gave up, or should not have come. */
  unsent(): void {
    this.#fresh = Math.max(0, this.#fresh - 1);
  }

  /** It is there, whatever it said. */
  answered(): void {
    this.#pauseMs = 0;
    this.#downUntil = Number.NEGATIVE_INFINITY;
  }

  /** It is there, and this busy. */
  told({ load }: { readonly load: Load }, costs: PassCosts | null = null): void {
    this.#load = load;
    this.#fresh = 0;
    this.answered();
    if (costs !== null) this.#costs = costs;
  }

  /** It could not be reached, or was lost: what it knew is gone where it has to start again. */
  failed(now: number): void {
    // All its sessions tell of the same failure.
    if (now >= this.#downUntil) {
      this.#pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, this.#pauseMs * 2));
      this.#downUntil = now + this.#pauseMs;
    }
    this.#load = null;
    this.#fresh = 0;
    this.prefixes.forget();
  }
}
