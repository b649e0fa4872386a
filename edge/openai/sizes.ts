import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";

/**
 * Bounds a body's lists before anything looks at what is in them: checking makes objects of every element at fault,
 * which for a body of the largest size took three times the memory that a Worker has. Throws StepError naming the list.
 */
export function checkSizes({ messages, prompt, stop }: Readonly<Record<string, unknown>>): void {
  atMost(LIMITS.stopStrings, "stop", stop);
  if (Array.isArray(prompt)) checkPrompt(prompt);
  if (!Array.isArray(messages)) return;
  atMost(LIMITS.chatMessages, "messages", messages);
  let parts = 0;
  for (const [index, message] of messages.entries()) {
    const content: unknown = message?.content;
    if (Array.isArray(content)) parts += content.length;
    if (parts > LIMITS.contentParts) {
      throw tooMany(`messages[${index}].content`, LIMITS.contentParts, "parts in all messages together");
    }
  }
}

function checkPrompt(prompt: readonly unknown[]): void {
  if (prompt.length > 1 && typeof prompt[0] === "string") {
    throw new StepError("unsupported", "Several prompts in one request are not supported.", "prompt");
  }
  if (prompt.length > LIMITS.contextTokens) {
    const message = `No model's context holds more than ${LIMITS.contextTokens} tokens; the prompt has ${prompt.length}.`;
    throw new StepError("context_length_exceeded", message, "prompt");
  }
}

function atMost(most: number, param: string, list: unknown): void {
  if (Array.isArray(list) && list.length > most) throw tooMany(param, most, "items");
}

function tooMany(param: string, most: number, what: string): StepError {
  return new StepError("invalid_request", `Invalid '${param}': at most ${most} ${what}.`, param);
}
