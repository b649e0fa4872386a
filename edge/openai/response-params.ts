import * as z from "zod";
import { LIMITS } from "../../shared/limits.ts";
import { asObject, check, invalid } from "./check.ts";
import type { ChatMessage, CompletionParams } from "./params.ts";
import { speculationOf } from "./params.ts";
import { fieldsOf, IGNORED_FIELDS, refuseParts, unsupported } from "./refuse.ts";
import { samplingFields, samplingOf, seedOf } from "./sampling.ts";
import { speculation } from "./schema.ts";
import { checkSizes } from "./sizes.ts";

/** Bodies of the Responses API: one turn of a conversation that the caller keeps. */

const LOGPROBS = "message.output_text.logprobs";

const part = z.strictObject({
  type: z.enum(["input_text", "output_text", "text"]),
  text: z.string(),
  annotations: z.array(z.unknown()).max(0).nullish(),
  logprobs: z.array(z.unknown()).nullish(),
});

const item = z.strictObject({
  type: z.literal("message").nullish(),
  role: z.enum(["system", "developer", "user", "assistant"]),
  content: z.union([z.string(), z.array(part).min(1).max(LIMITS.contentParts)], {
    error: "expected a string or an array of {type: 'input_text', text} parts",
  }),
  id: z.string().nullish(),
  status: z.string().nullish(),
});

export const responseBody = z.strictObject({
  model: z.string().nullish().meta({ description: "Default: the first model of /v1/models." }),
  input: z.union([z.string(), z.array(item).max(LIMITS.chatMessages)], {
    error: "expected a string or a list of messages",
  }),
  instructions: z.string().nullish(),
  max_output_tokens: z.int().min(1).nullish().meta({ description: "Cut to what the context leaves." }),
  ...samplingFields,
  include: z.array(z.literal(LOGPROBS)).max(1).nullish(),
  top_logprobs: z.int().min(0).max(LIMITS.topLogProbs).nullish(),
  metadata: z.record(z.string().max(64), z.string().max(512)).nullish().meta({ description: "Returned as it is." }),
  stream: z.boolean().nullish(),
  speculation: speculation.nullish(),
});

export type ResponseBody = z.infer<typeof responseBody>;

export interface ResponseParams extends CompletionParams {
  readonly api: "responses";
  /** Returned with the answer. */
  readonly settings: Pick<ResponseBody, "instructions" | "max_output_tokens" | "metadata" | "temperature" | "top_p">;
}

const isEmpty = (value: unknown) => typeof value === "object" && value !== null && Object.keys(value).length === 0;

/** What keeps state, runs tools or changes the form of the answer; each passes with a value that asks for nothing. */
const REFUSED: Readonly<Record<string, (value: unknown) => boolean>> = {
  store: (value) => value === false,
  previous_response_id: () => false,
  conversation: () => false,
  background: (value) => value === false,
  prompt: () => false,
  context_management: isEmpty,
  tools: isEmpty,
  tool_choice: (value) => value === "auto" || value === "none",
  truncation: (value) => value === "disabled",
};

export const RESPONSE_REFUSED: readonly string[] = Object.keys(REFUSED);
export const RESPONSE_IGNORED: readonly string[] = [
  ...IGNORED_FIELDS.filter((name) => name !== "store" && name !== "metadata"),
  "max_tool_calls",
  "stream_options",
];

/** Checks a body of the Responses API. Throws StepError (400) naming the field at fault. */
export function parseResponse(body: unknown): ResponseParams {
  const fields = asObject(body);
  checkSizes(fields);
  const { kept, ignored } = supportedFields(fields);
  const wire = check(responseBody, kept);
  const wantsLogProbs = (wire.include ?? []).length > 0;
  if ((wire.top_logprobs ?? 0) > 0 && !wantsLogProbs)
    throw invalid("top_logprobs", `it needs include: ["${LOGPROBS}"]`);
  const { instructions, max_output_tokens, metadata, temperature, top_p } = wire;
  return {
    api: "responses",
    model: wire.model ?? null,
    inputs: [{ kind: "messages", messages: messagesOf(wire), tools: [] }],
    inputParam: "input",
    n: 1,
    echo: false,
    maxTokens: max_output_tokens ?? null,
    sampling: samplingOf(wire),
    seed: wire.seed == null ? null : seedOf(wire.seed),
    stop: [],
    stream: wire.stream ?? false,
    includeUsage: false,
    pad: false,
    logProbs: wantsLogProbs ? (wire.top_logprobs ?? 0) : null,
    prediction: null,
    grammar: null,
    callsTools: false,
    speculation: speculationOf(wire.speculation ?? {}),
    ignored,
    settings: { instructions, max_output_tokens, metadata, temperature, top_p },
  };
}

function supportedFields(body: Readonly<Record<string, unknown>>) {
  const ignored: string[] = [];
  const kept = fieldsOf(body, (name, value) => {
    if (RESPONSE_IGNORED.includes(name) || (name === "tools" && body.tool_choice === "none")) {
      if (value !== null) ignored.push(name);
      return false;
    }
    if (name === "text") {
      checkFormat(value);
      return false;
    }
    const harmless = Object.hasOwn(REFUSED, name) ? REFUSED[name] : undefined;
    if (harmless === undefined) return true;
    if (value !== null && !harmless(value)) throw unsupported(name);
    return false;
  });
  if (Array.isArray(kept.input)) for (const [at, one] of kept.input.entries()) refuseItem(one, `input[${at}]`);
  return { kept, ignored };
}

/** `text` holds the answer's format, of which there is one, and its verbosity. */
function checkFormat(text: unknown): void {
  if (typeof text !== "object" || text === null || !("format" in text) || text.format == null) return;
  const { format } = text;
  if (typeof format !== "object" || !("type" in format) || format.type !== "text") throw unsupported("text.format");
}

function refuseItem(one: unknown, at: string): void {
  if (typeof one !== "object" || one === null) return;
  if ("type" in one && typeof one.type === "string" && one.type !== "message") throw unsupported(`${at}.type`);
  if (!("content" in one) || !Array.isArray(one.content)) return;
  refuseParts(one.content, `${at}.content`, "input_text", "output_text", "text");
}

function messagesOf({ input, instructions }: ResponseBody): ChatMessage[] {
  const messages: ChatMessage[] = instructions == null ? [] : [{ role: "system", content: instructions }];
  if (typeof input === "string") return [...messages, { role: "user", content: input }];
  if (input.length === 0) throw invalid("input", "it is empty");
  for (const { role, content } of input) {
    const text = typeof content === "string" ? content : content.map((one) => one.text).join("");
    messages.push({ role: role === "developer" ? "system" : role, content: text });
  }
  return messages;
}
