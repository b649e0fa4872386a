import { type Place, placeOf } from "../../shared/decode/placement.ts";
import { round } from "../decode/stats.ts";
import { alignColumns, type MethodSummary } from "./summary.ts";

/** A distance and a model that have not been measured. */
export interface Distance {
  /** Round trip between edge and gpu-worker, ms. */
  readonly rttMs: number;
  /** A verifying pass, ms, whatever it verifies. */
  readonly stepMs: number;
}

/** Tokens per second after the first, by who drafts. */
export interface PlacementRates {
  /** Tokens per step. */
  readonly tokens_per_step: number;
  readonly edge: number;
  readonly gpu: number;
  readonly auto: number;
  /** What auto chooses where both draft alike. */
  readonly chosen: Place;
}

export interface WhatIf {
  readonly rtt_ms: number;
  readonly step_ms: number;
  /** Relative gain in tokens per step that only the edge could bring, from which on drafting there is faster. */
  readonly break_even_gain: number;
  /** Plain decoding, and each method. */
  readonly methods: Readonly<Record<string, PlacementRates>>;
}

/**
 * What each placement would give: a step takes `stepMs` beside the model and a round trip more from the edge. Rescoring
 * is left out, as it costs the same at both places.
 */
export function whatIf(
  { rttMs, stepMs }: Distance,
  methods: Readonly<Record<string, Pick<MethodSummary, "block_efficiency">>>,
): WhatIf {
  const estimates = { roundTripMs: rttMs, stepMs, draftMs: 0, gain: 0 };
  const rates = (tokensPerStep: number, plain = false): PlacementRates => {
    const chosen = placeOf("edge", estimates, plain);
    const edge = round((1000 * tokensPerStep) / (stepMs + rttMs), 1);
    const gpu = round((1000 * tokensPerStep) / stepMs, 1);
    return { tokens_per_step: round(tokensPerStep), edge, gpu, auto: chosen === "edge" ? edge : gpu, chosen };
  };
  const drafted = Object.entries(methods).flatMap(([name, { block_efficiency }]) =>
    block_efficiency === null ? [] : [[name, rates(block_efficiency)] as const],
  );
  return {
    rtt_ms: rttMs,
    step_ms: stepMs,
    break_even_gain: round(rttMs / stepMs),
    methods: { plain: rates(1, true), ...Object.fromEntries(drafted) },
  };
}

export function formatWhatIf({ rtt_ms, step_ms, break_even_gain, methods }: WhatIf): string {
  const lines = [["method", "tokens/step", "edge tok/s", "gpu tok/s", "auto tok/s", "chosen"]];
  for (const [name, { tokens_per_step, edge, gpu, auto, chosen }] of Object.entries(methods)) {
    lines.push([name, tokens_per_step.toFixed(2), edge.toFixed(1), gpu.toFixed(1), auto.toFixed(1), chosen]);
  }
  const gain = (100 * break_even_gain).toFixed(0);
  return `
Round trip ${rtt_ms} ms, step ${step_ms} ms: where drafts are made alike, by who makes them
${alignColumns(lines, 1)}
The edge is the faster place where what only it knows gains more than ${gain} % in tokens per step.`;
}
