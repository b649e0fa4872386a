import { blend } from "../../shared/decode/placement.ts";
import type { Load, PassCosts, StepEngine } from "../../shared/engine.ts";
import { afterFailure, CLOSED, stateOf } from "./circuit.ts";
import { KnownPrefixes } from "./prefixes.ts";
import { aged, type Candidate } from "./rank.ts";

/** A gpu-worker as one edge knows it. */
export class Member {
  readonly url: string;
  readonly engine: StepEngine;
  readonly prefixes = new KnownPrefixes();
  #load: Load | null = null;
  #toldAt = 0;
  #costs: PassCosts | null = null;
  #fresh = 0;
  #circuit = CLOSED;
  #reachedMs: number | null = null;

  constructor(url: string, engine: StepEngine) {
    this.url = url;
    this.engine = engine;
  }

  candidate(marks: readonly number[], now: number): Candidate {
    return {
      url: this.url,
      load: this.#load && aged(this.#load, now - this.#toldAt),
      fresh: this.#fresh,
      costs: this.#costs,
      knownTokens: this.prefixes.tokens(marks),
      state: this.#state(now),
    };
  }

  /** How long it takes to reach it, as seen lately, ms; null before it was. */
  get reachedMs(): number | null {
    return this.#reachedMs;
  }

  reached(ms: number): void {
    this.#reachedMs = blend(this.#reachedMs, ms);
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
    this.#circuit = CLOSED;
  }

  /** It is there, and this busy. */
  told({ load }: { readonly load: Load }, now: number, costs: PassCosts | null = null): void {
    this.#load = load;
    this.#toldAt = now;
    this.#fresh = 0;
    this.answered();
    if (costs !== null) this.#costs = costs;
  }

  /**
   * It could not be reached, or was lost, which took `costMs` to find out; left out: as long as it has been silent. What it
   * knew is gone where it has to start again.
   */
  failed(now: number, costMs = now - this.#toldAt): void {
    this.#circuit = afterFailure(this.#circuit, now, costMs);
    this.#load = null;
    this.#fresh = 0;
    this.prefixes.forget();
  }

  /** Another one was reached while it showed nothing for `silentMs`: it may hang, or only pause. */
  silent(now: number, silentMs: number): void {
    this.#circuit = afterFailure(this.#circuit, now, silentMs);
  }

  /** One session finds out whether it is back, which may take long where it hangs; the others take it to be down. */
  #state(now: number): Candidate["state"] {
    const state = stateOf(this.#circuit, now);
    return state === "half-open" && this.#fresh > 0 ? "open" : state;
  }
}
