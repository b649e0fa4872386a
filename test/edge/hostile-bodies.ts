import { LIMITS } from "../../shared/limits.ts";
import { testApp } from "./fixture.ts";

/** Bodies of the largest size in which as much as possible is wrong. Run as a program it has them all refused. */

interface Hostile {
  readonly path: string;
  readonly body: () => string;
  /** Field that the refusal names. */
  readonly param: string | null;
}

const CHAT = "/v1/chat/completions";
const TEXT = "/v1/completions";
const RESPONSES = "/v1/responses";

/** `before`, as many `item`s as fit into a body, `after`. */
function filled(before: string, item: string, after: string): string {
  const count = Math.floor((LIMITS.bodyBytes - before.length - after.length + 1) / (item.length + 1));
  return before + `${item},`.repeat(count).slice(0, -1) + after;
}

function list(count: number, item: (i: number) => string): string {
  return `[${Array.from({ length: count }, (_, i) => item(i)).join()}]`;
}

function fields(count: number, value = "1"): string {
  return Array.from({ length: count }, (_, i) => `"key${i}":${value}`).join();
}

/** As many as a body may have beside the few that a request needs. */
const MOST = LIMITS.bodyFields - 20;
/** The longest prompt that is tokenized at all has 16 for each token of the context. */
const CHARACTERS = 16 * (LIMITS.contextTokens - 1);
const USER = '"messages":[{"role":"user","content":"x"}]';
const asked = (more: string) => () => `{${USER},${more}}`;
const schema = (text: string) =>
  asked(`"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":${text}}}`);
const SCHEMA = "response_format.json_schema.schema";
const tool = (name: string, parameters: string) =>
  `{"type":"function","function":{"name":"${name}","parameters":${parameters}}}`;
/** A grammar of 4096 states for each of `count`. */
const grammarOf = (count: number) => "[aceg]{4096} ".repeat(count);
const tokens = (token: string) => list(LIMITS.contextTokens, () => token);

const chat = (body: () => string, param: string | null): Hostile => ({ path: CHAT, body, param });
const text = (body: () => string, param: string | null): Hostile => ({ path: TEXT, body, param });
const responses = (body: () => string, param: string | null): Hostile => ({ path: RESPONSES, body, param });

export const HOSTILE: Readonly<Record<string, Hostile>> = {
  "lists for tokens": text(() => filled('{"prompt":[', "[]", "]}"), "prompt"),
  "negative tokens": text(() => filled('{"prompt":[', "-1", "]}"), "prompt"),
  "fractions for tokens": text(() => filled('{"prompt":[', "0.5", "]}"), "prompt"),
  "tokens without end": text(() => filled('{"prompt":[', "1", "]}"), "prompt"),
  "prompts without end": text(() => filled('{"prompt":[', '""', "]}"), "prompt"),
  "prompts of negative tokens": text(() => `{"prompt":${list(16, () => tokens("-1"))}}`, "prompt[0][0]"),
  "prompts of texts for tokens": text(() => `{"prompt":${list(16, () => tokens('"a"'))}}`, "prompt[0][0]"),
  "a prompt of negative tokens": text(() => `{"prompt":${tokens("-1")}}`, "prompt[0]"),
  "prompts of tokens beyond the vocabulary": text(
    () => `{"prompt":${list(15, () => tokens("90000"))}}`,
    "prompt[0][0]",
  ),
  "a prompt of one letter": text(() => `{"prompt":"${"a".repeat(1_000_000)}"}`, "prompt"),
  "empty parts": chat(() => filled('{"messages":[{"role":"user","content":[', "{}", "]}]}"), "messages[0].content"),
  "numbers for parts": chat(() => filled('{"messages":[{"content":[', "1", "]}]}"), "messages[0].content"),
  "empty parts in many messages": chat(
    () => filled('{"messages":[', `{"role":"user","content":[${"{},".repeat(2000)}{}]}`, "]}"),
    "messages[0].content",
  ),
  "empty messages": chat(() => filled('{"messages":[', "{}", "]}"), "messages"),
  "lists for stop strings": chat(() => filled(`{${USER},"stop":[`, "[]", "]}"), "stop"),
  "lists in depth": chat(() => `{"messages":${"[".repeat(500_000)}${"]".repeat(500_000)}}`, null),
  "objects in depth": chat(() => `{"messages":${'{"a":'.repeat(150_000)}1${"}".repeat(150_000)}}`, null),
  "fields without end": chat(asked(fields(70_000)), null),
  "unknown fields": chat(asked(fields(MOST)), "key0"),
  "unknown fields of a message": chat(() => `{"messages":[{${fields(MOST)}}]}`, "messages[0].role"),
  "unknown fields of many messages": chat(
    () => `{"messages":${list(250, () => `{${fields(65)}}`)}}`,
    "messages[0].role",
  ),
  "unknown fields of a part": chat(
    () => `{"messages":[{"role":"user","content":[{"type":"text","text":"x",${fields(MOST)}}]}]}`,
    "messages[0].content[0].key0",
  ),
  "unknown fields of speculation": chat(asked(`"speculation":{${fields(MOST)}}`), "speculation.key0"),
  "unknown fields of a tool": chat(asked(`"tools":[{"type":"function",${fields(MOST)}}]`), "tools[0].function"),
  "a list for speculation": chat(() => filled(`{${USER},"speculation":[`, "[]", "]}"), "speculation"),
  "fields of an ignored field": chat(asked(`"chat_template_kwargs":{${fields(MOST)}},"n":0`), "n"),
  "biases of words": chat(asked(`"logit_bias":{${fields(MOST)}}`), "logit_bias"),
  "empty parts of a message": chat(
    () => `{"messages":[{"role":"user","content":${list(1024, () => "{}")}}]}`,
    "messages[0].content[0].type",
  ),
  "calls of nothing": chat(
    () => `{"messages":${list(8, () => `{"role":"assistant","tool_calls":${list(128, () => "{}")}}`)}}`,
    "messages[0].tool_calls[0].id",
  ),
  "empty tools": chat(asked(`"tools":${list(128, () => "{}")}`), "tools[0].type"),
  "texts to choose from that are none": chat(asked(`"guided":{"choice":${list(1000, () => "1")}}`), "guided.choice[0]"),
  "long texts to choose from": chat(
    asked(`"guided":{"choice":${list(1000, (i) => `"${String(i).padEnd(1000, "x")}"`)}}`),
    "guided.choice",
  ),
  "a pattern of many parts": chat(asked(`"guided":{"regex":"${"(a|b)?".repeat(10_900)}"}`), "guided.regex"),
  "a pattern in depth": chat(asked(`"guided":{"regex":"${"(".repeat(30_000)}a${")".repeat(30_000)}"}`), "guided.regex"),
  "nothing repeated over and over": chat(
    asked(`"guided":{"grammar":"root ::= ((\\"\\"{4096}){4096}){4096}"}`),
    "guided.grammar",
  ),
  "a grammar that allows nothing": chat(asked(`"guided":{"grammar":"root ::= ${grammarOf(7)} []"}`), "guided.grammar"),
  "a grammar of too many ways": chat(
    asked(`"guided":{"grammar":"root ::= (${Array.from({ length: 1000 }, (_, i) => `\\"${i}\\"`).join("|")}){4096}"}`),
    "guided.grammar",
  ),
  "a grammar of too many states": chat(asked(`"guided":{"grammar":"root ::= ${grammarOf(9)}"}`), "guided.grammar"),
  "a pattern repeated over and over": chat(
    asked('"guided":{"regex":"((((a{1,99}){1,99}){1,99}){1,99})"}'),
    "guided.regex",
  ),
  "a grammar of many rules": chat(
    asked(
      `"guided":{"grammar":"root ::= r0\\n${Array.from({ length: 3500 }, (_, i) => `r${i} ::= r${i + 1}`).join("\\n")}"}`,
    ),
    "guided.grammar",
  ),
  "a grammar in depth": chat(
    asked(`"guided":{"grammar":"root ::= ${"(".repeat(30_000)}\\"a\\"${")".repeat(30_000)}"}`),
    "guided.grammar",
  ),
  "a schema of many properties": chat(schema(`{"type":"object","properties":{${fields(MOST, "{}")}}}`), SCHEMA),
  "a schema of unknown keywords": chat(schema(`{${fields(MOST)}}`), `${SCHEMA}.key0`),
  "a schema in depth": chat(
    schema(`${'{"type":"array","items":'.repeat(200)}{}${"}".repeat(200)}`),
    `${SCHEMA}${".items".repeat(65)}`,
  ),
  "a schema of long constants": chat(
    schema(`{"enum":${list(1000, (i) => `"${String(i).padEnd(1000, "x")}"`)}}`),
    SCHEMA,
  ),
  "a schema of alternatives that are compared": chat(
    schema(`{"oneOf":${list(100, (i) => `{"type":"object","properties":{${fields(75, `{"const":${i}}`)}}}`)}}`),
    `${SCHEMA}.oneOf`,
  ),
  "tools of many parameters": chat(
    asked(
      `"tools":${list(128, (i) => tool(`t${i}`, `{"type":"object","properties":{${fields(60, '{"type":"string"}')}}}`))}`,
    ),
    "messages",
  ),
  "tools of keywords that are passed over": chat(
    asked(`"tools":${list(50, (i) => tool(`t${i}`, `{"properties":{${fields(75, '{"pattern":"("}')}}}`))}`),
    "tools[9].function.parameters",
  ),
  "a tool of many unknown keywords": chat(
    asked(`"tools":[${tool("t", `{"properties":{"a":{"$ref":"#",${fields(16_000)}}}}`)}]`),
    "messages",
  ),
  "a schema that refers to no place": chat(schema('{"$ref":"#/%"}'), `${SCHEMA}.$ref`),
  "messages too long together": chat(
    () => `{"messages":${list(250, () => `{"role":"user","content":"${"a b ".repeat(120)}"}`)}}`,
    "messages",
  ),
  "words too many for the context": text(() => `{"prompt":"${"a b c ".repeat(CHARACTERS / 6)}"}`, "prompt"),
  "digits a little too many for the context": text(
    () => `{"prompt":"${"7".repeat(2 * LIMITS.contextTokens)}"}`,
    "prompt",
  ),
  "a prompt before one that is too long": text(
    () => `{"prompt":["${"7".repeat(LIMITS.contextTokens - 100)}","${"a b ".repeat(28_000)}"]}`,
    "prompt",
  ),
  "one word too long for the context": text(() => `{"prompt":"${"qxzj".repeat(CHARACTERS / 4)}"}`, "prompt"),
  "a number too long for the context": text(() => `{"prompt":"${"1".repeat(CHARACTERS)}"}`, "prompt"),
  "line ends too many for the context": text(() => `{"prompt":"${"\\n ".repeat(CHARACTERS / 2)}"}`, "prompt"),
  "letters too rare for the context": text(() => `{"prompt":"${"\u{1f9ff}".repeat(CHARACTERS / 2)}"}`, "prompt"),
  "a message of control tokens": chat(
    () => `{"messages":[{"role":"user","content":"${"<|im_end|>".repeat(CHARACTERS / 10)}"}]}`,
    "messages",
  ),
  "a message of words too many": chat(
    () => `{"messages":[{"role":"user","content":"${"no more ".repeat(CHARACTERS / 8)}"}]}`,
    "messages",
  ),
  "empty items": responses(() => `{"input":${list(256, () => "{}")}}`, "input[0].role"),
  "items of no type": responses(
    () => `{"input":${list(256, () => `{"type":"message","role":"user","content":[{${fields(60)}}]}`)}}`,
    "input[0].content[0].type",
  ),
  "unknown things to include": responses(() => filled('{"input":"x","include":[', '"x"', "]}"), "include"),
  "a list for messages to tokenize": {
    path: "/v1/tokenize",
    body: () => filled('{"messages":[', "1", "]}"),
    param: "messages",
  },
  "negative tokens as text": { path: "/v1/detokenize", body: () => `{"tokens":${tokens("-1")}}`, param: "tokens[0]" },
};

if (import.meta.main) {
  const { post } = testApp();
  for (const [name, { path, body }] of Object.entries(HOSTILE)) {
    const response = await post(path, body());
    const answer = (await response.json()) as { error?: { param: string | null } };
    console.log(JSON.stringify([name, answer.error === undefined ? response.status : answer.error.param]));
  }
}
