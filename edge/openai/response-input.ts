import * as z from "zod";
import { LIMITS } from "../../shared/limits.ts";
import { invalid } from "./check.ts";
import type { ChatMessage } from "./params.ts";
import { plainParts, unsupported } from "./refuse.ts";
import { refusalPart } from "./schema.ts";
import { toolName } from "./tools.ts";

/** What a response goes on from, as the Responses API writes it: a conversation of items. */

const PARTS = ["input_text", "output_text", "text"] as const;

const part = z.strictObject({
  type: z.enum(PARTS),
  text: z.string(),
  annotations: z.array(z.unknown()).nullish(),
  logprobs: z.array(z.unknown()).nullish(),
});

const text = z.union(
  [
    z.string(),
    z
      .array(z.discriminatedUnion("type", [part, refusalPart]))
      .min(1)
      .max(LIMITS.contentParts),
  ],
  {
    error: "expected a string or an array of {type: 'input_text', text} parts",
  },
);

const callId = z.string().min(1).max(LIMITS.nameLength);
/** Fields of items that come back as they were put out, here or elsewhere, and mean nothing now. */
const returned = { id: z.string().nullish(), status: z.string().nullish(), phase: z.string().nullish() };
const returnedCall = {
  ...returned,
  async: z.boolean().nullish(),
  caller: z.record(z.string(), z.unknown()).nullish(),
  namespace: z.string().nullish(),
};

const item = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("message").nullish(),
    role: z.enum(["system", "developer", "user", "assistant"]),
    content: text,
    ...returned,
  }),
  z.strictObject({
    type: z.literal("function_call"),
    call_id: callId,
    name: toolName,
    arguments: z.string(),
    ...returnedCall,
  }),
  z.strictObject({
    type: z.literal("function_call_output"),
    call_id: callId,
    output: text,
    name: z.string().nullish(),
    ...returnedCall,
  }),
]);

/** `input`: the user's words, or the conversation so far. */
export const responseInput = z.union([z.string(), z.array(item).max(LIMITS.chatMessages)], {
  error: "expected a string or a list of items",
});

/**
 * Items that this server can read; those of reasoning, which a model that does not reason makes no use of, are left out and
 * named in `ignored`. Throws StepError "unsupported" for the others, and for parts that are no text.
 */
export function supportedInput(input: unknown, ignored: Set<string>): unknown {
  if (!Array.isArray(input)) return input;
  const items = input as readonly unknown[];
  const plain = items.map((one, at) => plainItem(one, `input[${at}]`, ignored));
  const kept = plain.filter((one) => typeOf(one) !== "reasoning");
  if (kept.length < items.length) ignored.add("input[].reasoning");
  return kept;
}

function plainItem(one: unknown, at: string, ignored: Set<string>): unknown {
  if (typeof one !== "object" || one === null) return one;
  const type = typeOf(one);
  if (typeof type === "string" && !KNOWN.includes(type)) throw unsupported(`${at}.type`);
  if (type === "reasoning") return one;
  const types = "role" in one && one.role === "assistant" ? [...PARTS, "refusal"] : PARTS;
  const plain = (field: "content" | "output", parts: readonly unknown[]) =>
    plainParts(parts, { at: `${at}.${field}`, list: `input[].${field}[]`, types }, ignored);
  return {
    ...one,
    ...("content" in one && Array.isArray(one.content) ? { content: plain("content", one.content) } : {}),
    ...("output" in one && Array.isArray(one.output) ? { output: plain("output", one.output) } : {}),
  };
}

const KNOWN: readonly string[] = ["message", "function_call", "function_call_output", "reasoning"];

function typeOf(one: unknown): unknown {
  return typeof one === "object" && one !== null && "type" in one ? one.type : null;
}

/** The conversation as messages of a chat: calls belong to the assistant's message that they follow. */
export function messagesOf(input: z.infer<typeof responseInput>, instructions: string | null): ChatMessage[] {
  const messages: ChatMessage[] = instructions === null ? [] : [{ role: "system", content: instructions }];
  if (typeof input === "string") return [...messages, { role: "user", content: input }];
  if (input.length === 0) throw invalid("input", "it is empty");
  for (const one of input) {
    if (one.type === "function_call") {
      const last = messages.at(-1);
      const { content, calls = [] } = last?.role === "assistant" ? (messages.pop() ?? last) : { content: "" };
      const call = { id: one.call_id, name: one.name, arguments: one.arguments };
      messages.push({ role: "assistant", content, calls: [...calls, call] });
    } else if (one.type === "function_call_output") {
      messages.push({ role: "tool", content: textOf(one.output) });
    } else {
      messages.push({ role: one.role === "developer" ? "system" : one.role, content: textOf(one.content) });
    }
  }
  return messages;
}

function textOf(content: z.infer<typeof text>): string {
  return typeof content === "string"
    ? content
    : content.map((one) => (one.type === "refusal" ? one.refusal : one.text)).join("");
}
