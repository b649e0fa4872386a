import { readJson } from "../../edge/http/body.ts";
import { parseChat, parseCompletion } from "../../edge/openai/params.ts";
import { parseResponse } from "../../edge/openai/response-params.ts";
import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";

/**
 * Bodies in which as much as possible is wrong: as much as fits into the largest one, and as much as passes the bounds of
 * what a body holds. Run as a program it checks them all; `npm run bench -- hostile` measures what they cost.
 */

/** `before`, at most `most` `item`s, as many as fit into a body, `after`. */
function filled(before: string, item: string, after: string, most = Number.POSITIVE_INFINITY): string {
  const count = Math.floor((LIMITS.bodyBytes - before.length - after.length + 1) / (item.length + 1));
  return before + `${item},`.repeat(Math.min(count, most)).slice(0, -1) + after;
}

const keys = (count: number) => Array.from({ length: count }, (_, i) => `"key${i}":1`).join(",");
const tokens = (item: string) => filled("[", item, "]", LIMITS.contextTokens);
const USER = '"messages":[{"role":"user","content":"x"}]';
const CHAT = "/v1/chat/completions";
const TEXT = "/v1/completions";
const RESPONSES = "/v1/responses";
/** Nearly as many as a body may hold, in all of it. */
const FIELDS = LIMITS.bodyFields - 16;
const LISTS = LIMITS.bodyLists - 16;

export type Hostile = readonly [path: string, body: () => string, param: string | null];

export const HOSTILE: Readonly<Record<string, Hostile>> = {
  "lists for tokens": [TEXT, () => filled('{"prompt":[', "[]", "]}"), "prompt"],
  "negative tokens": [TEXT, () => filled('{"prompt":[', "-1", "]}"), "prompt"],
  "negative tokens, no more than a context": [TEXT, () => `{"prompt":${tokens("-1")}}`, "prompt[0]"],
  "texts among tokens": [TEXT, () => `{"prompt":[1,${tokens('""').slice(1, -4)}]}`, "prompt[1]"],
  "fractions for tokens": [TEXT, () => filled('{"prompt":[', "0.5", "]}"), "prompt"],
  "tokens without end": [TEXT, () => filled('{"prompt":[', "1", "]}"), "prompt"],
  "prompts without end": [TEXT, () => filled('{"prompt":[', '""', "]}"), "prompt"],
  "negative tokens in every prompt": [TEXT, () => filled('{"prompt":[', tokens("-1"), "]}", 16), "prompt[0][0]"],
  "tokens in every prompt, the last one negative": [
    TEXT,
    () => `${filled('{"prompt":[', tokens("1"), "", 15)},[-1]]}`,
    "prompt[15][0]",
  ],
  "empty parts": [CHAT, () => filled('{"messages":[{"role":"user","content":[', "{}", "]}]}"), "messages"],
  "as many empty parts as may be": [
    CHAT,
    () => filled('{"messages":[{"role":"user","content":[', "{}", "]}]}", LIMITS.contentParts),
    "messages[0].content[0].type",
  ],
  "numbers for parts": [CHAT, () => filled('{"messages":[{"content":[', "1", "]}]}"), "messages"],
  "fewer numbers for parts": [
    CHAT,
    () => filled('{"messages":[{"content":[', "1", "]}]}", 100_000),
    "messages[0].content",
  ],
  "empty parts in many messages": [
    CHAT,
    () => filled('{"messages":[', `{"role":"user","content":[${"{},".repeat(2000)}{}]}`, "]}"),
    "messages",
  ],
  "empty messages": [CHAT, () => filled('{"messages":[', "{}", "]}"), "messages"],
  "fewer empty messages": [CHAT, () => filled('{"messages":[', "{}", "]}", LIMITS.chatMessages), "messages[0].role"],
  "empty calls": [
    CHAT,
    () => filled('{"messages":[', `{"role":"user","content":"","tool_calls":${filled("[", "{}", "]", 128)}}`, "]}", 8),
    "messages[0].tool_calls[0].id",
  ],
  "empty tools": [CHAT, () => filled(`{${USER},"tools":[`, "{}", "]}", LIMITS.tools), "tools[0].type"],
  "lists for stop strings": [CHAT, () => filled(`{${USER},"stop":[`, "[]", "]}"), "stop"],
  "fewer lists for stop strings": [CHAT, () => filled(`{${USER},"stop":[`, "[]", "]}", LISTS), "stop"],
  "lists in depth": [CHAT, () => `{"messages":${"[".repeat(500_000)}${"]".repeat(500_000)}}`, "messages"],
  "objects in depth": [CHAT, () => `{${USER},"tools":${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}}`, "tools"],
  "unknown fields": [CHAT, () => `{${USER},${keys(70_000)}}`, `key${LIMITS.bodyFields - 3}`],
  "fewer unknown fields": [CHAT, () => `{${USER},${keys(FIELDS)}}`, null],
  "fewer unknown fields of a response": [RESPONSES, () => `{"input":"x",${keys(FIELDS)}}`, null],
  "unknown fields of a message": [CHAT, () => `{"messages":[{${keys(70_000)}}]}`, "messages"],
  "fewer unknown fields of a message": [CHAT, () => `{"messages":[{${keys(FIELDS)}}]}`, "messages[0]"],
  "fewer unknown fields of messages": [
    CHAT,
    () => filled('{"messages":[', `{"role":"user","content":"",${keys(60)}}`, "]}", LIMITS.chatMessages),
    "messages[0].key0",
  ],
  "biases by no token": [CHAT, () => `{${USER},"logit_bias":{${keys(300)}}}`, "logit_bias.key0"],
  "a list for speculation": [CHAT, () => filled(`{${USER},"speculation":[`, "[]", "]}", LISTS), "speculation"],
  "unknown fields of speculation": [CHAT, () => `{${USER},"speculation":{${keys(FIELDS)}}}`, "speculation.key0"],
  "things to include": [RESPONSES, () => filled('{"input":"x","include":[', "1", "]}"), "include"],
  "empty items": [RESPONSES, () => filled('{"input":[', "{}", "]}", LIMITS.chatMessages), "input[0].role"],
  "keywords of a schema": [
    CHAT,
    () => `{${USER},"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{${keys(FIELDS)}}}}}`,
    "response_format.json_schema.schema.key0",
  ],
  "properties of a schema": [
    CHAT,
    () => {
      const properties = keys(FIELDS - 16).replaceAll(":1", ":{}");
      return `{${USER},"guided":{"json":{"type":"object","properties":{${properties.slice(0, 190_000)}"z":{}}}}}`;
    },
    "guided.json",
  ],
  "a pattern without end": [CHAT, () => `{${USER},"guided":{"regex":"${"a|".repeat(500_000)}"}}`, "guided.regex"],
  "a text for messages": [CHAT, () => `{"messages":"${"x".repeat(1_000_000)}"}`, "messages"],
  "escapes for messages": [CHAT, () => `{"messages":"${"\\\\\\u0000".repeat(120_000)}"}`, "messages"],
};

const PARSERS: Readonly<Record<string, (body: unknown) => unknown>> = {
  [CHAT]: parseChat,
  [TEXT]: parseCompletion,
  [RESPONSES]: parseResponse,
};

if (import.meta.main) {
  for (const [name, [path, body]] of Object.entries(HOSTILE)) {
    const request = new Request(`http://test${path}`, { method: "POST", body: body() });
    const fault = await readJson(request)
      .then(PARSERS[path])
      .catch((error: unknown) => error);
    console.log(JSON.stringify([name, fault instanceof StepError ? fault.param : String(fault)]));
  }
}
