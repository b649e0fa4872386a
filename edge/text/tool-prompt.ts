import type { ChatMessage } from "../openai/params.ts";
import type { Tool } from "../openai/tools.ts";
import { CALL_END, CALL_START, callHead, callText } from "./tool-calls.ts";

/** A message with nothing but what every chat template knows. */
export interface PlainMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** What a system message says where the caller has none. */
const DEFAULT_SYSTEM = "You are a helpful assistant.";

/**
 * Tools told in words, for templates that have no section for them: their signatures at the end of the system message,
 * calls as text/tool-calls.ts reads them, and what a tool answered as the user's message.
 */
export function withoutTools(messages: readonly ChatMessage[], tools: readonly Tool[]): PlainMessage[] {
  const plain = messages.map(plainMessage);
  if (tools.length === 0) return plain;
  const [first, ...rest] = plain;
  const section = toolSection(tools);
  if (first?.role === "system") return [{ role: "system", content: `${first.content}\n\n${section}` }, ...rest];
  return [{ role: "system", content: `${DEFAULT_SYSTEM}\n\n${section}` }, ...plain];
}

function plainMessage({ role, content, calls = [] }: ChatMessage): PlainMessage {
  if (role === "tool") return { role: "user", content: `<tool_response>\n${content}\n</tool_response>` };
  const texts = calls.map((call) => callText(call.name, call.arguments));
  return { role, content: [...(content === "" ? [] : [content]), ...texts].join("\n") };
}

function toolSection(tools: readonly Tool[]): string {
  const signatures = tools.map((tool) => JSON.stringify(tool)).join("\n");
  const call = `${CALL_START}${callHead("<function name>")}<arguments as a JSON object>${CALL_END}`;
  return `# Tools

You may call one or more of these functions to help with the user's request:
<tools>
${signatures}
</tools>

To call a function, write its name and its arguments as JSON between these marks:
${call}`;
}
