import type { FinishReason } from "../../shared/decode/advance.ts";
import type { Metrics, Usage } from "./answer-schemas.ts";
import type { ChatLogProbs } from "./logprobs.ts";
import type { ResponseParams } from "./response-params.ts";

/** Shapes of the Responses API. */

export interface ResponseHead {
  readonly id: string;
  /** Of the one message that is put out. */
  readonly messageId: string;
  /** Unix time, seconds. */
  readonly created: number;
  readonly model: string;
}

export type OutputLogProbs = ChatLogProbs["content"];

export function outputText(text: string, logprobs: OutputLogProbs) {
  return { type: "output_text", text, annotations: [], logprobs };
}

export type OutputText = ReturnType<typeof outputText>;

/** `finish`: null while it is being written. */
export function outputMessage({ messageId }: ResponseHead, finish: FinishReason | null, content: OutputText[]) {
  return { type: "message", id: messageId, status: statusOf(finish), role: "assistant", content };
}

/** What is known at the end. */
export interface ResponseEnd {
  readonly finish: FinishReason;
  readonly content: OutputText;
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
    status: statusOf(finish),
    error: null,
    incomplete_details: finish === "length" ? { reason: "max_output_tokens" } : null,
    instructions: settings.instructions ?? null,
    max_output_tokens: settings.max_output_tokens ?? null,
    model: head.model,
    output: end === null ? [] : [outputMessage(head, end.finish, [end.content])],
    parallel_tool_calls: false,
    previous_response_id: null,
    reasoning: { effort: null, summary: null },
    store: false,
    temperature: settings.temperature ?? 1,
    text: { format: { type: "text" } },
    tool_choice: "auto",
    tools: [],
    top_p: settings.top_p ?? 1,
    truncation: "disabled",
    usage: end === null ? null : usageBody(end.usage),
    user: null,
    metadata: settings.metadata ?? {},
    ...(end === null ? {} : { metrics: end.metrics }),
  };
}

function statusOf(finish: FinishReason | null) {
  if (finish === null) return "in_progress";
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
