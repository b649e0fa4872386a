import type { StepEvent } from "../../shared/decode/run.ts";

/**
 * Raw counters of one request's completions, and the ratios derived from them. The prefill commits the first
 * token and is no step: plain autoregressive decoding has a block efficiency of exactly 1.
 */
export class DecodeStats {
  /** Completion tokens kept, the prefill's included. */
  tokens = 0;
  /** Tokens kept from steps (not from the prefill). */
  stepTokens = 0;
  steps = 0;
  /** Of them, those that the engine drafted. */
  stepsAtGpu = 0;
  /** Prompt tokens that had been computed before. */
  cachedTokens = 0;
  /** Drafted tokens that became part of the completion, and those verified. */
  accepted = 0;
  drafted = 0;
  readonly perStepAccepted: number[] = [];
  readonly perStepDrafted: number[] = [];
  readonly wallMs: number[] = [];
  /** Wall time beyond the engine's own, per step: wire, codec and event loops. */
  readonly roundTripMs: number[] = [];
  queueMs = 0;
  prefillMs = 0;

  /**
   * `kept`: how many of the event's committed tokens are part of the completion (a stop may cut some). `sharesPrompt`:
   * whether the completion's prompt has been counted with another one.
   */
  record(event: StepEvent, { kept = event.committed.length, sharesPrompt = false } = {}): void {
    this.tokens += kept;
    this.queueMs += event.timing.queueMs;
    if (event.call === 0) {
      if (!sharesPrompt) this.cachedTokens += event.cachedTokens;
      this.prefillMs += event.timing.modelMs + event.timing.engineMs;
      return;
    }
    const accepted = event.committed.slice(0, kept).filter((c) => c.kind === "accepted").length;
    this.steps++;
    if (event.place === "gpu") this.stepsAtGpu++;
    this.stepTokens += kept;
    this.accepted += accepted;
    this.drafted += event.drafted;
    this.perStepAccepted.push(accepted);
    this.perStepDrafted.push(event.drafted);
    this.wallMs.push(event.wallMs);
    const { queueMs, modelMs, engineMs } = event.timing;
    this.roundTripMs.push(Math.max(0, event.wallMs - queueMs - modelMs - engineMs));
  }

  /** Tokens committed per model call after prefill, bonus tokens included; 0 without a step. */
  get blockEfficiency(): number {
    return this.steps === 0 ? 0 : this.stepTokens / this.steps;
  }
}

/** The q-quantile (nearest rank) of unsorted values; 0 of none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}

/** Three decimals: microseconds where the unit is ms. */
export function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
