import type { FinishReason } from "../../shared/decode/advance.ts";
import type { Metrics, Usage } from "./answer-schemas.ts";
import type { ChatLogProbs } from "./logprobs.ts";
import type { ResponseParams } from "./response-params.ts";

/** Shapes of the Responses API. */

export interface ResponseHead {
  readonly id: string;
  /** Unix time, seconds. */
  readonly created: number;
  readonly model: string;
}

export type OutputLogProbs = ChatLogProbs["content"];

export function outputText(text: string, logprobs: OutputLogProbs) {
  return { type: "output_text", text, annotations: [], logprobs } as const;
}

export type OutputText = ReturnType<typeof outputText>;

/** Of an item or a response; "incomplete" where the limit cut it off. */
export type Status = "in_progress" | "completed" | "incomplete";

export function outputMessage(id: string, status: Status, content: readonly OutputText[]) {
  return { type: "message", id, status, role: "assistant", content } as const;
}

/** A call of a tool; `item` is its own id, `id` what the tool's answer names. */
export interface FunctionCall {
  readonly item: string;
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

export function functionCall({ item, id, name, arguments: args }: FunctionCall, status: Status) {
  return { type: "function_call", id: item, call_id: id, name, arguments: args, status } as const;
}

export type OutputItem = ReturnType<typeof outputMessage> | ReturnType<typeof functionCall>;

/** What is known at the end. */
export interface ResponseEnd {
  readonly finish: FinishReason;
  readonly output: readonly OutputItem[];
  readonly usage: Usage;
  readonly metrics: Metrics;
}

/** The response object; `end` is null while it is being written. */
export function responseObject(head: ResponseHead, { settings }: ResponseParams, end: ResponseEnd | null) {
  const finish = end?.finish ?? null;
  return {
    id: head.id,
    object: "response",
    created_at: head.created,
    status: finish === null ? "in_progress" : statusOf(finish),
    completed_at: end === null ? null : head.created + Math.round(end.metrics.timings.total_ms / 1000),
    background: false,
    error: null,
    incomplete_details: finish === "length" ? { reason: "max_output_tokens" } : null,
    instructions: settings.instructions ?? null,
    max_output_tokens: settings.max_output_tokens ?? null,
    max_tool_calls: null,
    model: head.model,
    output: end?.output ?? [],
    parallel_tool_calls: settings.parallel_tool_calls ?? true,
    presence_penalty: settings.presence_penalty ?? 0,
    frequency_penalty: settings.frequency_penalty ?? 0,
    previous_response_id: null,
    prompt_cache_key: null,
    reasoning: { effort: null, summary: null },
    safety_identifier: null,
    service_tier: "default",
    store: false,
    temperature: settings.temperature ?? 1,
    text: { format: formatBody(settings.text?.format ?? { type: "text" }) },
    tool_choice: settings.tool_choice ?? "auto",
    tools: (settings.tools ?? []).map(toolBody),
    top_logprobs: settings.top_logprobs ?? 0,
    top_p: settings.top_p ?? 1,
    truncation: "disabled",
    usage: end === null ? null : usageBody(end.usage),
    user: null,
    metadata: settings.metadata ?? {},
    ...(end === null ? {} : { metrics: end.metrics }),
  };
}

type Settings = ResponseParams["settings"];

/** As clients of OpenAI's expect it back: what was left out is null. */
function toolBody({ type, name, description, parameters, strict }: NonNullable<Settings["tools"]>[number]) {
  const about = { description: description ?? null, parameters: parameters ?? null };
  return { type, name, ...about, strict: strict ?? false };
}

function formatBody(format: NonNullable<NonNullable<Settings["text"]>["format"]>) {
  if (format.type !== "json_schema") return format;
  const { type, name, description, schema, strict } = format;
  const about = { name: name ?? "answer", description: description ?? null, strict: strict ?? false };
  return { type, ...about, schema: schema ?? { type: "object" } };
}

export function statusOf(finish: FinishReason): Status {
  return finish === "length" ? "incomplete" : "completed";
}

function usageBody(usage: Usage) {
  return {
    input_tokens: usage.prompt_tokens,
    input_tokens_details: usage.prompt_tokens_details,
    output_tokens: usage.completion_tokens,
    output_tokens_details: { reasoning_tokens: usage.completion_tokens_details.reasoning_tokens },
    total_tokens: usage.total_tokens,
  };
}
