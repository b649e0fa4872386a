import type { Random } from "../helpers/random.ts";

/** Bodies of every field with parts replaced, repeated, renamed or left out. */

const user = (content: string) => [{ role: "user", content }];

const SAMPLING = {
  temperature: 0.5,
  top_p: 0.9,
  top_k: 5,
  min_p: 0.1,
  seed: 7,
  presence_penalty: 0.5,
  frequency_penalty: -0.5,
  repetition_penalty: 1.2,
  logit_bias: { 5: -100, 7: 3.5 },
  speculation: {
    heads: 3,
    top_k: 2,
    rescorer: { type: "ngram", alpha: 0, p_best: 2, prompt: true },
    placement: "edge",
  },
};
const parts = [{ type: "text", text: "hello" }];

const BODIES: readonly (readonly [path: string, body: object])[] = [
  [
    "/v1/chat/completions",
    {
      ...SAMPLING,
      messages: [
        { role: "system", content: "x", name: "me" },
        { role: "user", content: parts },
        { role: "assistant", content: null, tool_calls: [], reasoning_content: "hm" },
        ...user("hello"),
      ],
      n: 2,
      max_completion_tokens: 9,
      logprobs: true,
      top_logprobs: 2,
      stop: ["a", "b"],
      stream: true,
      stream_options: { include_usage: true },
      prediction: { type: "content", content: parts },
      response_format: { type: "text" },
      tools: [],
      tool_choice: "none",
      reasoning_effort: "low",
    },
  ],
  [
    "/v1/completions",
    { ...SAMPLING, prompt: ["hello", "world"], n: 2, max_tokens: 9, echo: true, stop: "x", best_of: 1, suffix: "" },
  ],
  ["/v1/completions", { prompt: [[104, 101], [105]], max_tokens: 3, logprobs: 2 }],
  [
    "/v1/responses",
    {
      ...SAMPLING,
      input: [
        { role: "user", content: [{ type: "input_text", text: "hello" }] },
        {
          type: "message",
          id: "1",
          status: "completed",
          role: "assistant",
          content: [{ type: "output_text", text: "x", annotations: [] }],
        },
        ...user("more"),
      ],
      instructions: "x",
      include: ["message.output_text.logprobs"],
      top_logprobs: 1,
      max_output_tokens: 9,
      metadata: { a: "b" },
      text: { format: { type: "text" }, verbosity: "low" },
      store: false,
      tools: [],
      truncation: "disabled",
    },
  ],
  ["/v1/tokenize", { messages: user("hello"), return_token_strs: true }],
  ["/v1/detokenize", { tokens: [104, 105] }],
];

const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e300,
  2 ** 53,
  "",
  "x",
  "\u0000\ud800",
  [],
  {},
  [[[]]],
  { type: "text" },
  { __proto__: null, constructor: 1 },
];
const NAMES = ["type", "content", "__proto__", "constructor", "toString", "length", "x", "0"];

/** One change somewhere inside. */
function mutate(value: unknown, random: Random): unknown {
  if (typeof value !== "object" || value === null || random.chance(0.15)) return random.pick(VALUES);
  if (Array.isArray(value)) {
    if (value.length === 0 || random.chance(0.2))
      return [...value, ...Array(random.int(1, 20)).fill(random.pick(VALUES))];
    const at = random.int(0, value.length - 1);
    if (random.chance(0.1)) return value.toSpliced(at, 1);
    return value.with(at, mutate(value[at], random));
  }
  const entries = Object.entries(value);
  if (entries.length === 0 || random.chance(0.1)) entries.push([random.pick(NAMES), random.pick(VALUES)]);
  const at = random.int(0, entries.length - 1);
  const [name, inner] = entries[at]!;
  const dice = random.unit();
  if (dice < 0.1) entries.splice(at, 1);
  else if (dice < 0.2) entries[at] = [random.pick(NAMES), inner];
  else entries[at] = [name, mutate(inner, random)];
  return Object.fromEntries(entries);
}

/** One of the bodies with one to three changes, and where it is sent to. */
export function mutatedBody(random: Random): readonly [path: string, body: unknown] {
  const [path, whole] = random.pick(BODIES);
  let body: unknown = whole;
  for (let i = random.int(1, 3); i > 0; i--) body = mutate(body, random);
  return [path, body];
}
