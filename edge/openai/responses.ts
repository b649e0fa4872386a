import type { Placement } from "../../shared/decode/placement.ts";
import type { CallPart } from "../text/tool-calls.ts";
import type { Metrics, StepTrace, Usage } from "./answer-schemas.ts";
import { callBodies, callDelta, type ToolCall, type WireFinish } from "./call-bodies.ts";
import type { ChatLogProbs, CompletionLogProbs } from "./logprobs.ts";
import { type DecodeStats, quantile, round } from "./stats.ts";

/** What the bodies of one request have in common; answer-schemas.ts says what is in them. */
export interface ResponseContext {
  readonly api: "chat" | "completions";
  readonly id: string;
  /** Unix time, seconds. */
  readonly created: number;
  readonly model: string;
  readonly fingerprint: string;
  readonly includeUsage: boolean;
}

export function usageOf(promptTokens: number, stats: DecodeStats): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: stats.tokens,
    total_tokens: promptTokens + stats.tokens,
    prompt_tokens_details: { cached_tokens: stats.cachedTokens },
    completion_tokens_details: {
      reasoning_tokens: 0,
      accepted_prediction_tokens: stats.accepted,
      rejected_prediction_tokens: stats.drafted - stats.accepted,
    },
  };
}

export interface RunTimes {
  readonly ttftMs: number;
  readonly totalMs: number;
}

/** `maxNodes`: the draft bound; 0 where speculation is off. */
export function metricsOf(
  stats: DecodeStats,
  times: RunTimes,
  placement: Placement["chosen"],
  maxNodes: number,
  detailed: boolean,
): Metrics {
  return {
    speculative_decoding: maxNodes === 0 ? null : speculativeMetrics(stats, maxNodes, detailed),
    block_efficiency: round(stats.blockEfficiency),
    placement: placementMetrics(stats, placement),
    timings: {
      queue_ms: round(stats.queueMs),
      prefill_ms: round(stats.prefillMs),
      ttft_ms: round(times.ttftMs),
      total_ms: round(times.totalMs),
      tokens_per_second: times.totalMs > 0 ? round((stats.tokens * 1000) / times.totalMs) : 0,
      step_ms: { p50: round(quantile(stats.wallMs, 0.5)), p95: round(quantile(stats.wallMs, 0.95)) },
      round_trip_ms: { p50: round(quantile(stats.roundTripMs, 0.5)) },
    },
  };
}

function placementMetrics({ steps, stepsAtGpu }: DecodeStats, { place, mode, estimates }: Placement["chosen"]) {
  const { roundTripMs, stepMs, draftMs, gain } = estimates;
  return {
    chosen: place,
    mode,
    steps: { edge: steps - stepsAtGpu, gpu: stepsAtGpu },
    round_trip_ms: roundTripMs === null ? null : round(roundTripMs),
    step_ms: stepMs === null ? null : round(stepMs),
    draft_ms: round(draftMs),
    gain: round(gain),
  };
}

function speculativeMetrics(stats: DecodeStats, maxNodes: number, detailed: boolean) {
  const byLength: Record<string, number[]> = {};
  for (const [i, drafted] of stats.perStepDrafted.entries()) {
    byLength[drafted] ??= new Array<number>(drafted + 1).fill(0);
    byLength[drafted][stats.perStepAccepted[i]!]!++;
  }
  const histogram = new Array<number>(Math.max(0, ...stats.perStepAccepted) + 1).fill(0);
  for (const accepted of stats.perStepAccepted) histogram[accepted]!++;
  return {
    mean_acceptance_length: stats.steps === 0 ? 0 : round(1 + stats.accepted / stats.steps),
    draft_acceptance_rate: stats.drafted === 0 ? 0 : round(stats.accepted / stats.drafted),
    acceptance_histogram: histogram,
    acceptance_histogram_by_draft_length: byLength,
    num_spec_steps: stats.steps,
    num_accepted_draft_tokens: stats.accepted,
    num_draft_tokens: stats.drafted,
    num_spec_tokens: maxNodes,
    ...(detailed ? { per_step_accepted: stats.perStepAccepted, per_step_drafted: stats.perStepDrafted } : {}),
  };
}

/** Value of a `server-timing` header. */
export function serverTiming({ timings }: Metrics): string {
  const parts = {
    queue: timings.queue_ms,
    prefill: timings.prefill_ms,
    ttft: timings.ttft_ms,
    "step-p50": timings.step_ms.p50,
    "step-p95": timings.step_ms.p95,
    "round-trip-p50": timings.round_trip_ms.p50,
    total: timings.total_ms,
  };
  return Object.entries(parts)
    .map(([name, ms]) => `${name};dur=${ms}`)
    .join(", ");
}

export type LogProbsBody = ChatLogProbs | CompletionLogProbs | null;

export interface ChunkParts {
  /** Of the choice. */
  readonly index: number;
  /** null: the first chunk of a chat, which names the role. */
  readonly text: string | null;
  /** Calls of tools that begin or go on. */
  readonly calls: readonly CallPart[];
  readonly finish: WireFinish | null;
  readonly logProbs: LogProbsBody;
  readonly trace: StepTrace | null;
  readonly metrics: Metrics | null;
}

/** One content chunk. `usage` is null in all chunks but the last where usage was asked for, else absent. */
export function chunkOf(context: ResponseContext, parts: ChunkParts) {
  const { index, text, calls, finish, logProbs } = parts;
  const content = text === null ? { role: "assistant", content: "" } : text === "" ? {} : { content: text };
  const delta =
    calls.length === 0 ? content : { ...content, tool_calls: calls.map((call) => callDelta(context.id, index, call)) };
  const choice =
    context.api === "chat"
      ? { index, delta, logprobs: logProbs, finish_reason: finish }
      : { index, text: text ?? "", logprobs: logProbs, finish_reason: finish };
  return {
    ...head(context, true),
    choices: [choice],
    ...(context.includeUsage ? { usage: null } : {}),
    ...(parts.trace === null ? {} : { speculation: parts.trace }),
    ...(parts.metrics === null ? {} : { metrics: parts.metrics }),
  };
}

export function usageChunk(context: ResponseContext, usage: Usage, metrics: Metrics) {
  return { ...head(context, true), choices: [], usage, metrics };
}

export interface ChoiceParts {
  readonly text: string;
  readonly calls: readonly ToolCall[];
  readonly finish: WireFinish;
  readonly logProbs: LogProbsBody;
}

export interface FullParts {
  readonly choices: readonly ChoiceParts[];
  readonly usage: Usage;
  readonly metrics: Metrics;
  readonly steps: readonly StepTrace[] | null;
}

export function fullBody(context: ResponseContext, { choices, usage, metrics, steps }: FullParts) {
  return {
    ...head(context, false),
    choices: choices.map((choice, index) => choiceBody(context, choice, index)),
    usage,
    metrics,
    ...(steps === null ? {} : { speculation: { steps } }),
  };
}

function choiceBody(context: ResponseContext, { text, calls, finish, logProbs }: ChoiceParts, index: number) {
  const rest = { logprobs: logProbs, finish_reason: finish };
  if (context.api === "completions") return { index, text, ...rest };
  if (calls.length === 0) return { index, message: { role: "assistant", content: text, refusal: null }, ...rest };
  const content = text === "" ? null : text;
  return {
    index,
    message: { role: "assistant", content, refusal: null, tool_calls: callBodies(context.id, index, calls) },
    ...rest,
  };
}

function head(context: ResponseContext, chunk: boolean) {
  const chat = chunk ? "chat.completion.chunk" : "chat.completion";
  return {
    id: context.id,
    object: context.api === "chat" ? chat : "text_completion",
    created: context.created,
    model: context.model,
    system_fingerprint: context.fingerprint,
  };
}
