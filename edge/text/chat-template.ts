import { Template } from "@huggingface/jinja";
import { StepError } from "../../shared/errors.ts";
import type { TokenId } from "../../shared/ids.ts";
import type { ChatMessage } from "../openai/params.ts";
import type { TextTokenizer } from "./tokenizer.ts";

/** Renders messages to prompt tokens, ending where the assistant's turn begins. */
export type ChatPrompt = (messages: readonly ChatMessage[]) => TokenId[];

/**
 * Only the template writes control tokens. A caller's text that spells one is broken up by a guard
 * character, used nowhere in the messages, before rendering; after the template's own control tokens
 * are split off the guard is taken out again, so the text keeps its letters but not the power.
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
  return (messages) => {
    const guard = unusedCharacter(messages);
    const guarded = messages.map(({ role, content }) => ({
      role,
      content: leads.reduce((text, lead) => text.replaceAll(lead, lead + guard), content),
    }));
    const text = render(template, {
      messages: guarded,
      add_generation_prompt: true,
      bos_token: names.bos,
      eos_token: names.eos,
    });
    return tokenizer.encodeMarked(text, (part) => part.replaceAll(guard, ""));
  };
}

function render(template: Template, variables: Record<string, unknown>): string {
  try {
    return template.render(variables);
  } catch (error) {
    const reason = error instanceof Error ? error.message : "it failed";
    throw new StepError("invalid_request", `The chat template refused the messages: ${reason}`, "messages");
  }
}

/** A private-use character that no message contains. */
function unusedCharacter(messages: readonly ChatMessage[]): string {
  for (let code = 0xe000; code < 0xf900; code++) {
    const character = String.fromCharCode(code);
    if (!messages.some((m) => m.content.includes(character))) return character;
  }
  throw new StepError("invalid_request", "The messages use every private-use character.", "messages");
}
