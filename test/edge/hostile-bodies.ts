import { readJson } from "../../edge/http/body.ts";
import { parseChat, parseCompletion } from "../../edge/openai/params.ts";
import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";

/** Bodies of the largest size in which as much as possible is wrong. Run as a program it checks them all. */

/** `before`, as many `item`s as fit into a body, `after`. */
function filled(before: string, item: string, after: string): string {
  const count = Math.floor((LIMITS.bodyBytes - before.length - after.length + 1) / (item.length + 1));
  return before + `${item},`.repeat(count).slice(0, -1) + after;
}

const keys = (count: number) => Array.from({ length: count }, (_, i) => `"key${i}":1`).join(",");
const USER = '"messages":[{"role":"user","content":"x"}]';

export const HOSTILE: Readonly<Record<string, readonly [parse: "chat" | "text", body: () => string, param: string]>> = {
  "lists for tokens": ["text", () => filled('{"prompt":[', "[]", "]}"), "prompt"],
  "negative tokens": ["text", () => filled('{"prompt":[', "-1", "]}"), "prompt"],
  "fractions for tokens": ["text", () => filled('{"prompt":[', "0.5", "]}"), "prompt"],
  "tokens without end": ["text", () => filled('{"prompt":[', "1", "]}"), "prompt"],
  "prompts without end": ["text", () => filled('{"prompt":[', '""', "]}"), "prompt"],
  "empty parts": ["chat", () => filled('{"messages":[{"role":"user","content":[', "{}", "]}]}"), "messages[0].content"],
  "numbers for parts": ["chat", () => filled('{"messages":[{"content":[', "1", "]}]}"), "messages[0].content"],
  "empty parts in many messages": [
    "chat",
    () => filled('{"messages":[', `{"role":"user","content":[${"{},".repeat(2000)}{}]}`, "]}"),
    "messages[0].content",
  ],
  "empty messages": ["chat", () => filled('{"messages":[', "{}", "]}"), "messages"],
  "lists for stop strings": ["chat", () => filled(`{${USER},"stop":[`, "[]", "]}"), "stop"],
  "lists in depth": ["chat", () => `{"messages":${"[".repeat(500_000)}${"]".repeat(500_000)}}`, "messages[0]"],
  "unknown fields": ["chat", () => `{${USER},${keys(70_000)}}`, "key0"],
  "unknown fields of a message": ["chat", () => `{"messages":[{${keys(70_000)}}]}`, "messages[0].role"],
  "a list for speculation": ["chat", () => filled(`{${USER},"speculation":[`, "[]", "]}"), "speculation"],
};

if (import.meta.main) {
  for (const [name, [api, body]] of Object.entries(HOSTILE)) {
    const request = new Request("http://test", { method: "POST", body: body() });
    const parse = api === "chat" ? parseChat : parseCompletion;
    const fault = await readJson(request)
      .then(parse, (error: unknown) => error)
      .catch((error: unknown) => error);
    console.log(JSON.stringify([name, fault instanceof StepError ? fault.param : String(fault)]));
  }
}
