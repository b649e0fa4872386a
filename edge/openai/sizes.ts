import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import { invalid } from "./check.ts";

type Body = Readonly<Record<string, unknown>>;

/**
 * Bounds a body's lists before anything looks at what is in them, and finds the first element that is no token: checking
 * makes objects of every element at fault, which for a body of the largest size took three times the memory that a Worker
 * has. Throws StepError naming the list or the element.
 */
export function checkSizes(body: Body): void {
  const { messages, prompt, stop, logit_bias, prediction, input, tools, guided, metadata } = body;
  atMost(LIMITS.stopStrings, "stop", stop);
  if (typeof logit_bias === "object") atMost(LIMITS.biases, "logit_bias", Object.keys(logit_bias ?? {}), "tokens");
  if (typeof metadata === "object") atMost(LIMITS.metadata, "metadata", Object.keys(metadata ?? {}), "pairs");
  atMost(LIMITS.tools, "tools", tools);
  if (typeof guided === "object" && guided !== null && "choice" in guided) {
    atMost(LIMITS.guidedChoices, "guided.choice", guided.choice);
  }
  if (Array.isArray(prompt)) checkPrompt(prompt);
  const predicted = typeof prediction === "object" && prediction !== null && "content" in prediction;
  if (predicted) atMost(LIMITS.contentParts, "prediction.content", prediction.content, "parts");
  checkMessages("messages", messages);
  checkMessages("input", input);
}

function checkMessages(param: string, messages: unknown): void {
  if (!Array.isArray(messages)) return;
  atMost(LIMITS.chatMessages, param, messages);
  let parts = 0;
  let calls = 0;
  for (const [index, message] of messages.entries()) {
    const made: unknown = message?.tool_calls;
    atMost(LIMITS.tools, `${param}[${index}].tool_calls`, made);
    if (Array.isArray(made)) calls += made.length;
    if (calls > LIMITS.contentParts) {
      throw tooMany(`${param}[${index}].tool_calls`, LIMITS.contentParts, "calls in all messages together");
    }
    const field = message?.content === undefined && message?.output !== undefined ? "output" : "content";
    const content: unknown = message?.[field];
    if (Array.isArray(content)) parts += content.length;
    if (parts > LIMITS.contentParts) {
      throw tooMany(`${param}[${index}].${field}`, LIMITS.contentParts, "parts in all messages together");
    }
  }
}

function checkPrompt(prompt: readonly unknown[]): void {
  if (typeof prompt[0] === "string" || Array.isArray(prompt[0])) {
    atMost(LIMITS.choices, "prompt", prompt);
    for (const [index, one] of prompt.entries()) if (Array.isArray(one)) checkTokens(`prompt[${index}]`, one);
  } else checkTokens("prompt", prompt);
}

/** Throws StepError for more tokens than any context holds, and for the first one that cannot be a token's id. */
export function checkTokens(param: string, tokens: readonly unknown[]): void {
  if (tokens.length > LIMITS.contextTokens) {
    const message = `No model's context holds more than ${LIMITS.contextTokens} tokens; there are ${tokens.length}.`;
    throw new StepError("context_length_exceeded", message, param);
  }
  const fault = tokens.findIndex((token) => !Number.isSafeInteger(token) || Number(token) < 0);
  if (fault >= 0) throw invalid(`${param}[${fault}]`, "expected a token's id, a whole number from 0 on");
}

function atMost(most: number, param: string, list: unknown, what = "items"): void {
  if (Array.isArray(list) && list.length > most) throw tooMany(param, most, what);
}

function tooMany(param: string, most: number, what: string): StepError {
  return new StepError("invalid_request", `Invalid '${param}': at most ${most} ${what}.`, param);
}
