import type { EngineEstimates, PassCosts, StepTiming } from "../engine.ts";

/** Who drafts: the caller of the engine, a round trip away, or the engine itself. */
export type Place = "edge" | "gpu";

export const PLACEMENTS = ["edge", "gpu", "auto"] as const;
export type PlacementMode = (typeof PLACEMENTS)[number];

/** What a placement is chosen by. */
export interface PlacementEstimates {
  /** Round trip, ms; null before one was seen. */
  readonly roundTripMs: number | null;
  /** Time of a step at the engine, ms. */
  readonly stepMs: number | null;
  /** Time of making a draft at the edge, ms. */
  readonly draftMs: number;
  /** Relative gain in tokens per step of what only the edge knows. */
  readonly gain: number;
}

/** Share of a step that drafting at the edge may cost before it is weighed against what it gains. */
const TOLERANCE = 0.05;
/** And before a loop that has left comes back for no gain. */
const NEGLIGIBLE = 0.02;
/** Steps that are drafted at the edge after an engine could not draft by itself, before it is asked again. */
const AWAY_STEPS = 64;
/** The other place must be this much faster before the loop moves. */
const HYSTERESIS = 0.05;
/** Share of an estimated gain that is left after a step at the edge. */
const GAIN_KEPT = 0.97;
/** Memory of the estimates, in observations. */
const MEMORY = 8;

/**
 * Where a step is made fastest: tokens per millisecond are (1 + gain) / (stepMs + roundTripMs) at the edge, where what
 * only the edge knows helps, and 1 / stepMs at the engine. The edge is preferred while round trip and drafting stay
 * below a twentieth of a step. `plain`: nothing is drafted, so a round trip, however short, is for nothing.
 */
export function placeOf(now: Place, { roundTripMs, stepMs, draftMs, gain }: PlacementEstimates, plain: boolean): Place {
  if (plain) return "gpu";
  if (roundTripMs === null || stepMs === null || stepMs <= 0) return now;
  const cost = (roundTripMs + draftMs) / stepMs;
  if (cost <= (now === "edge" ? TOLERANCE : NEGLIGIBLE)) return "edge";
  const edge = (1 + gain) / (1 + cost);
  if (now === "edge") return edge < 1 - HYSTERESIS / 2 ? "gpu" : "edge";
  return edge > 1 + HYSTERESIS / 2 ? "edge" : "gpu";
}

/** One request's placement: as asked for, or chosen step by step from what is observed. */
export class Placement {
  readonly #mode: PlacementMode;
  readonly #plain: boolean;
  #place: Place;
  #estimates: PlacementEstimates;
  #made: number | null = null;
  #needed: number | null = null;
  /** Steps for which the engine is not asked to draft. */
  #away = 0;

  /** `plain`: nothing is drafted. */
  constructor(mode: PlacementMode, plain = false) {
    this.#mode = mode;
    this.#plain = plain;
    this.#place = mode === "gpu" ? "gpu" : "edge";
    this.#estimates = { roundTripMs: null, stepMs: null, draftMs: 0, gain: 0 };
  }

  /** The last choice, and what it was made by. */
  get chosen(): { readonly place: Place; readonly mode: PlacementMode; readonly estimates: PlacementEstimates } {
    return { place: this.#place, mode: this.#mode, estimates: this.#estimates };
  }

  /** Where the first draft after the prefill is made, by what was known of the engine before. */
  beforehand({ roundTripMs, costs }: EngineEstimates): Place {
    if (costs !== null) this.opened(costs);
    return this.choose(roundTripMs);
  }

  /** Told what passes cost at the engine, before there was a step. */
  opened({ pass, row, wanted }: PassCosts): void {
    this.#estimates = { ...this.#estimates, stepMs: pass + row + wanted };
  }

  /** Where the next step's draft is made. */
  choose(roundTripMs: number | null): Place {
    this.#estimates = { ...this.#estimates, roundTripMs };
    if (this.#mode === "auto") this.#place = placeOf(this.#place, this.#estimates, this.#plain);
    if (this.#mode === "gpu") this.#place = "gpu";
    if (this.#away > 0) {
      this.#away--;
      this.#place = "edge";
    }
    return this.#place;
  }

  /** The engine lacks what its drafts would be made from: the edge makes them for a while, whatever was asked for. */
  turnedAway(): void {
    this.#away = AWAY_STEPS;
  }

  /** Steps that the engine made, and that would have been enough with drafts from the edge; null: nothing to compare. */
  compare(seen: { readonly made: number; readonly needed: number } | null): void {
    if (seen === null) return;
    this.#made = blend(this.#made, seen.made);
    this.#needed = blend(this.#needed, seen.needed);
    this.#estimates = { ...this.#estimates, gain: Math.max(0, this.#made / this.#needed - 1) };
  }

  /** What became of a step, and how long its draft took where it was made at the edge, ms. */
  observe({ place, timing }: { readonly place: Place; readonly timing: StepTiming }, draftMs: number): void {
    const { stepMs, draftMs: before, gain } = this.#estimates;
    this.#estimates = {
      ...this.#estimates,
      stepMs: blend(stepMs, timing.queueMs + timing.modelMs + timing.engineMs),
      draftMs: place === "edge" ? blend(before, draftMs) : before,
      // Seen from the edge a gain cannot be told from a stretch that is easy anyway: it has to be seen again.
      gain: place === "edge" ? gain * GAIN_KEPT : gain,
    };
  }
}

/** For those that never send the loop elsewhere. */
export const HERE: Pick<Placement, "opened" | "choose" | "observe"> = {
  opened: () => undefined,
  choose: () => "edge",
  observe: () => undefined,
};

/** An average that forgets. */
export function blend(before: number | null, seen: number): number {
  return before === null ? seen : before + (seen - before) / MEMORY;
}
