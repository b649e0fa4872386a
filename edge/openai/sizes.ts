import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import { invalid } from "./check.ts";

type Body = Readonly<Record<string, unknown>>;

/**
 * Bounds a body's lists before anything looks at what is in them: checking makes objects of every element at fault,
 * which for a body of the largest size took three times the memory that a Worker has. Throws StepError naming the list.
 */
export function checkSizes(body: Body): void {
  const { messages, prompt, stop, logit_bias, prediction, input, tools, guided, metadata, include } = body;
  atMost(LIMITS.stopStrings, "stop", stop);
  if (typeof logit_bias === "object") atMost(LIMITS.biases, "logit_bias", Object.keys(logit_bias ?? {}), "tokens");
  if (typeof metadata === "object") atMost(LIMITS.metadata, "metadata", Object.keys(metadata ?? {}), "pairs");
  atMost(LIMITS.tools, "tools", tools);
  atMost(LIMITS.included, "include", include);
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

/** Of token ids the first wrong one is found here: there may be 16 times 8,192, and checking would describe them all. */
function checkPrompt(prompt: readonly unknown[]): void {
  if (typeof prompt[0] === "string" || Array.isArray(prompt[0])) {
    atMost(LIMITS.choices, "prompt", prompt);
    for (const [index, one] of prompt.entries()) if (Array.isArray(one)) checkTokens(`prompt[${index}]`, one);
  } else checkTokens("prompt", prompt);
}

/** Throws StepError naming the list, or the first of it that is no token id. */
export function checkTokens(param: string, tokens: readonly unknown[]): void {
  if (tokens.length > LIMITS.contextTokens) {
    const message = `No model's context holds more than ${LIMITS.contextTokens} tokens; '${param}' has ${tokens.length}.`;
    throw new StepError("context_length_exceeded", message, param);
  }
  const wrong = tokens.findIndex((token) => !(Number.isSafeInteger(token) && Number(token) >= 0));
  if (wrong >= 0) throw invalid(`${param}[${wrong}]`, "expected a token id");
}

function atMost(most: number, param: string, list: unknown, what = "items"): void {
  if (Array.isArray(list) && list.length > most) throw tooMany(param, most, what);
}

function tooMany(param: string, most: number, what: string): StepError {
  return new StepError("invalid_request", `Invalid '${param}': at most ${most} ${what}.`, param);
}
