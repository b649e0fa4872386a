import { Template } from "@huggingface/jinja";
import { StepError } from "../../shared/errors.ts";
import type { TokenId } from "../../shared/ids.ts";
import type { ChatMessage } from "../openai/params.ts";
import type { Tool } from "../openai/tools.ts";
import type { TextTokenizer } from "./tokenizer.ts";
import { CALL_START } from "./tool-calls.ts";
import { withoutTools } from "./tool-prompt.ts";

/** Renders messages, and the tools that may be called, to prompt tokens, ending where the assistant's turn begins. */
export type ChatPrompt = (messages: readonly ChatMessage[], tools: readonly Tool[]) => TokenId[];

/**
 * Only the template writes control tokens. A caller's text that spells one is broken up by a guard
 * character, used nowhere in the messages, before rendering; after the template's own control tokens
 * are split off the guard is taken out again, so the text keeps its letters but not the power.
 *
 * Tools are told by the template where it has a section for them that asks for calls as text/tool-calls.ts reads them;
 * else in words (text/tool-prompt.ts).
 *
 * The prompt function throws StepError "invalid_request" where the template refuses the messages.
 */
export function createChatPrompt(
  source: string,
  tokenizer: TextTokenizer,
  names: { bos: string; eos: string },
): ChatPrompt {
  const template = new Template(source);
  const leads = [...new Set(tokenizer.controlNames.map((name) => [...name][0]!))];
  const knowsTools = /\btools\b/.test(source) && source.includes(CALL_START);
  return (messages, tools) => {
    const told = knowsTools
      ? { messages: messages.map(templateMessage), tools: tools.length > 0 ? tools : null }
      : { messages: withoutTools(messages, tools) };
    const guard = unusedCharacter(JSON.stringify(told));
    const guarded = eachText(told, (text) => leads.reduce((all, lead) => all.replaceAll(lead, lead + guard), text));
    const text = render(template, {
      ...guarded,
      add_generation_prompt: true,
      bos_token: names.bos,
      eos_token: names.eos,
    });
    return tokenizer.encodeMarked(text, (part) => part.replaceAll(guard, ""));
  };
}

/** As templates expect calls: with their arguments as values. */
function templateMessage({ role, content, calls = [] }: ChatMessage) {
  if (calls.length === 0) return { role, content };
  const made = calls.map((call) => ({
    id: call.id,
    type: "function",
    function: { name: call.name, arguments: parsed(call.arguments) },
  }));
  return { role, content, tool_calls: made };
}

/** Arguments that are no JSON stay as they are. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A copy with every text in it changed, names of fields included, which may be a caller's own. */
function eachText<T>(value: T, change: (text: string) => string): T;
function eachText(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === "string") return change(value);
  if (Array.isArray(value)) return value.map((item: unknown) => eachText(item, change));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([name, item]: [string, unknown]) => [
    change(name),
    eachText(item, change),
  ]);
  return Object.fromEntries(entries);
}

function render(template: Template, variables: Record<string, unknown>): string {
  try {
    return template.render(variables);
  } catch (error) {
    const reason = error instanceof Error ? error.message : "it failed";
    throw new StepError("invalid_request", `The chat template refused the messages: ${reason}`, "messages");
  }
}

/** A private-use character that is not in `text`. */
function unusedCharacter(text: string): string {
  for (let code = 0xe000; code < 0xf900; code++) {
    const character = String.fromCharCode(code);
    if (!text.includes(character)) return character;
  }
  throw new StepError("invalid_request", "The messages use every private-use character.", "messages");
}
