import { describe, expect, test } from "vitest";
import { manifestOf, testApp, user } from "./fixture.ts";

const CHAT = "/v1/chat/completions";
const TEXT = "/v1/completions";

/** body, code, param */
type Case = readonly [name: string, body: unknown, code: string, param: string | null];

const pack = (name: string, order: number) => ({
  name,
  order,
  ngrams: 1,
  path: `packs/${name}.fdlm`,
  bytes: 1,
  sha256: "00",
});
const packed = manifestOf("toy", { packs: [pack("general", 3)] });

const chatCases: readonly Case[] = [
  ["no messages", {}, "invalid_request", "messages"],
  ["empty messages", { messages: [] }, "invalid_request", "messages"],
  ["messages of the wrong type", { messages: "hi" }, "invalid_request", "messages"],
  ["a number as content", { messages: [{ role: "user", content: 3 }] }, "invalid_request", "messages[0].content"],
  ["an unknown role", { messages: [{ role: "boss", content: "x" }] }, "invalid_request", "messages[0].role"],
  ["a function message", { messages: [{ role: "function", content: "x" }] }, "unsupported", "messages[0].role"],
  [
    "an image part",
    { messages: [{ role: "user", content: [{ type: "image_url" }] }] },
    "unsupported",
    "messages[0].content[0].type",
  ],
  [
    "a part with an unknown field",
    { messages: [{ role: "user", content: [{ type: "text", text: "a", b: 1 }] }] },
    "invalid_request",
    "messages[0].content[0].b",
  ],
  [
    "more parts than all messages may have",
    { messages: [...user("x"), { role: "user", content: Array(1025).fill({ type: "text", text: "a" }) }] },
    "invalid_request",
    "messages[1].content",
  ],
  ["an unknown field", { messages: user("x"), temprature: 1 }, "invalid_request", "temprature"],
  ["an unknown field that is null", { messages: user("x"), temprature: null }, "invalid_request", "temprature"],
  [
    "a body lent by a prototype",
    '{"__proto__": {"messages": [{"role": "user", "content": "x"}]}, "speculation": {"enabled": false}}',
    "invalid_request",
    "messages",
  ],
  [
    "an unknown field named as a prototype is",
    '{"messages": [{"role": "user", "content": "x"}], "__proto__": {}}',
    "invalid_request",
    "__proto__",
  ],
  [
    "a message lent by a prototype",
    '{"messages": [{"role": "user", "content": "x", "__proto__": {}}]}',
    "invalid_request",
    "messages[0].__proto__",
  ],
  [
    "an unknown message field",
    { messages: [{ role: "user", content: "x", mood: 1 }] },
    "invalid_request",
    "messages[0].mood",
  ],
  [
    "an unknown speculation field",
    { messages: user("x"), speculation: { deep: 1 } },
    "invalid_request",
    "speculation.deep",
  ],
  [
    "an unknown rescorer field",
    { messages: user("x"), speculation: { rescorer: { alpah: 1 } } },
    "invalid_request",
    "speculation.rescorer.alpah",
  ],
  [
    "alpha out of range",
    { messages: user("x"), speculation: { rescorer: { alpha: 1.5 } } },
    "invalid_request",
    "speculation.rescorer.alpha",
  ],
  [
    "prompt that is no boolean",
    { messages: user("x"), speculation: { rescorer: { prompt: "yes" } } },
    "invalid_request",
    "speculation.rescorer.prompt",
  ],
  [
    "a tree without a calibration",
    { messages: user("x"), speculation: { rescorer: { type: "tree", alpha: 0 } } },
    "invalid_request",
    "speculation.rescorer.type",
  ],
  [
    "p_best out of range",
    { messages: user("x"), speculation: { rescorer: { p_best: 17 } } },
    "invalid_request",
    "speculation.rescorer.p_best",
  ],
  [
    "heads beyond the bundle's",
    { messages: user("x"), speculation: { heads: 9 } },
    "invalid_request",
    "speculation.heads",
  ],
  ["heads of zero", { messages: user("x"), speculation: { heads: 0 } }, "invalid_request", "speculation.heads"],
  [
    "top_k beyond the bundle's",
    { messages: user("x"), speculation: { top_k: 5 } },
    "invalid_request",
    "speculation.top_k",
  ],
  [
    "an unknown pack",
    { messages: user("x"), speculation: { rescorer: { model: "x" } } },
    "invalid_request",
    "speculation.rescorer.model",
  ],
  [
    "an order beyond the pack's",
    { messages: user("x"), speculation: { rescorer: { order: 4 } } },
    "invalid_request",
    "speculation.rescorer.order",
  ],
  [
    "max_nodes out of range",
    { messages: user("x"), speculation: { max_nodes: 64 } },
    "invalid_request",
    "speculation.max_nodes",
  ],
  ["a negative temperature", { messages: user("x"), temperature: -0.1 }, "invalid_request", "temperature"],
  ["a temperature above 2", { messages: user("x"), temperature: 2.1 }, "invalid_request", "temperature"],
  ["a top_p of zero", { messages: user("x"), top_p: 0 }, "invalid_request", "top_p"],
  ["a fractional max_tokens", { messages: user("x"), max_tokens: 1.5 }, "invalid_request", "max_tokens"],
  ["a max_tokens of zero", { messages: user("x"), max_tokens: 0 }, "invalid_request", "max_tokens"],
  [
    "two different limits",
    { messages: user("x"), max_tokens: 1, max_completion_tokens: 2 },
    "invalid_request",
    "max_tokens",
  ],
  ["a fractional seed", { messages: user("x"), seed: 0.5 }, "invalid_request", "seed"],
  ["five stop strings", { messages: user("x"), stop: ["a", "b", "c", "d", "e"] }, "invalid_request", "stop"],
  ["an empty stop string", { messages: user("x"), stop: "" }, "invalid_request", "stop"],
  ["top_logprobs alone", { messages: user("x"), top_logprobs: 2 }, "invalid_request", "top_logprobs"],
  [
    "stream options without a stream",
    { messages: user("x"), stream_options: { include_usage: true } },
    "invalid_request",
    "stream_options",
  ],
  ["n of 17", { messages: user("x"), n: 17 }, "invalid_request", "n"],
  [
    "a trace of two choices",
    { messages: user("x"), n: 2, speculation: { trace: true } },
    "invalid_request",
    "speculation.trace",
  ],
  ["half a tool", { messages: user("x"), tools: [{ type: "function" }] }, "invalid_request", "tools[0].function"],
  ["audio", { messages: user("x"), audio: {} }, "unsupported", "audio"],
  [
    "a prediction of another type",
    { messages: user("x"), prediction: { type: "x", content: "x" } },
    "invalid_request",
    "prediction.type",
  ],
  [
    "a prediction without end",
    { messages: user("x"), prediction: { type: "content", content: "x".repeat(8193) } },
    "invalid_request",
    "prediction.content",
  ],
  [
    "parts of a prediction without end",
    { messages: user("x"), prediction: { type: "content", content: Array(1025).fill({}) } },
    "invalid_request",
    "prediction.content",
  ],
  [
    "a format of no kind",
    { messages: user("x"), response_format: { type: "yaml" } },
    "invalid_request",
    "response_format.type",
  ],
  [
    "a presence penalty out of range",
    { messages: user("x"), presence_penalty: 2.5 },
    "invalid_request",
    "presence_penalty",
  ],
  [
    "a frequency penalty out of range",
    { messages: user("x"), frequency_penalty: -3 },
    "invalid_request",
    "frequency_penalty",
  ],
  [
    "a repetition penalty of 0",
    { messages: user("x"), repetition_penalty: 0 },
    "invalid_request",
    "repetition_penalty",
  ],
  ["a min_p above 1", { messages: user("x"), min_p: 1.5 }, "invalid_request", "min_p"],
  ["half a top_k", { messages: user("x"), top_k: 1.5 }, "invalid_request", "top_k"],
  ["a bias out of range", { messages: user("x"), logit_bias: { 5: 101 } }, "invalid_request", "logit_bias.5"],
  ["a bias of a text", { messages: user("x"), logit_bias: { the: 1 } }, "invalid_request", "logit_bias.the"],
  [
    "a bias outside the vocabulary",
    { messages: user("x"), logit_bias: { 4000: 1 } },
    "invalid_request",
    "logit_bias.4000",
  ],
  ["a list of biases", { messages: user("x"), logit_bias: [1] }, "invalid_request", "logit_bias"],
  [
    "biases without end",
    { messages: user("x"), logit_bias: Object.fromEntries(Array.from({ length: 301 }, (_, i) => [i, 1])) },
    "invalid_request",
    "logit_bias",
  ],
  ["a seed beyond 64 bits", { messages: user("x"), seed: 1e300 }, "invalid_request", "seed"],
  ["user content of null", { messages: [{ role: "user", content: null }] }, "invalid_request", "messages[0].content"],
  ["beams", { messages: user("x"), use_beam_search: true }, "unsupported", "use_beam_search"],
  ["an unknown model", { model: "gpt", messages: user("x") }, "model_not_found", "model"],
  ["an array as body", [], "invalid_request", null],
  ["null as body", null, "invalid_request", null],
  ["broken JSON", "{", "invalid_request", null],
  ["NaN", '{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', "invalid_request", null],
  [
    "a number beyond all bounds",
    '{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
    "invalid_request",
    "temperature",
  ],
  ["too long messages", { messages: user("x ".repeat(300)) }, "context_length_exceeded", "messages"],
  [
    "messages far too long to tokenize",
    { messages: user("x".repeat(512 * 16 + 1)) },
    "context_length_exceeded",
    "messages",
  ],
];

const textCases: readonly Case[] = [
  ["no prompt", {}, "invalid_request", "prompt"],
  ["a null prompt", { prompt: null }, "invalid_request", "prompt"],
  ["an empty prompt", { prompt: "" }, "invalid_request", "prompt"],
  ["an empty list", { prompt: [] }, "invalid_request", "prompt"],
  ["an empty string in a list", { prompt: [""] }, "invalid_request", "prompt"],
  ["seventeen prompts", { prompt: Array(17).fill("a") }, "invalid_request", "prompt"],
  ["more completions than a request may have", { prompt: ["a", "b", "c"], n: 6 }, "invalid_request", "n"],
  ["an empty prompt among several", { prompt: ["a", ""] }, "invalid_request", "prompt[1]"],
  ["no tokens among several prompts", { prompt: [[1], []] }, "invalid_request", "prompt[1]"],
  ["a foreign token in the second prompt", { prompt: [[1], [1, 5000]] }, "invalid_request", "prompt[1][1]"],
  ["too long a second prompt", { prompt: [[1], Array(512).fill(1)] }, "context_length_exceeded", "prompt[1]"],
  ["texts and tokens together", { prompt: ["a", [1]] }, "invalid_request", "prompt[0]"],
  ["a token outside the vocabulary", { prompt: [1, 1_000_000] }, "invalid_request", "prompt[1]"],
  ["a negative token", { prompt: [-1] }, "invalid_request", "prompt[0]"],
  ["a fractional token", { prompt: [1, 0.5] }, "invalid_request", "prompt[1]"],
  ["messages", { prompt: "x", messages: [] }, "invalid_request", "messages"],
  ["more tokens than any context", { prompt: Array(8193).fill(1) }, "context_length_exceeded", "prompt"],
  ["echo with log-probabilities", { prompt: "x", echo: true, logprobs: 1 }, "unsupported", "echo"],
  ["best_of", { prompt: "x", best_of: 3 }, "unsupported", "best_of"],
  ["logprobs as in chat", { prompt: "x", logprobs: true }, "invalid_request", "logprobs"],
  ["too long a prompt", { prompt: "x ".repeat(300) }, "context_length_exceeded", "prompt"],
];

describe("a bad request gets a 4xx in OpenAI's shape that names the field:", () => {
  const { post } = testApp({ manifests: [packed] });
  const check = (path: string) => async (_: string, body: unknown, code: string, param: string | null) => {
    const response = await post(path, body);
    expect(await response.json()).toMatchObject({
      error: { code, param, type: "invalid_request_error", message: expect.any(String) },
    });
    expect(response.status).toBe(code === "model_not_found" ? 404 : 400);
  };
  test.each(chatCases)("chat, %s", check(CHAT));
  test.each(textCases)("text, %s", check(TEXT));

  test("chat with a model that has no chat template", async () => {
    const { post } = testApp();
    const response = await post(CHAT, { model: "mute", messages: user("x") });
    expect(await response.json()).toMatchObject({ error: { code: "unsupported", param: "messages" } });
  });

  test("the neural rescorer of a bundle without one", async () => {
    const { post } = testApp();
    for (const alpha of [0, 0.5, undefined]) {
      const speculation = { rescorer: { type: "neural", alpha } };
      const response = await post(CHAT, { messages: user("x"), speculation });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ error: { param: "speculation.rescorer.type" } });
    }
  });

  test("n-grams of a bundle without packs, unless alpha is 0", async () => {
    const { post } = testApp();
    const rescorer = { type: "ngram", alpha: 0.5 };
    const response = await post(CHAT, { messages: user("x"), speculation: { rescorer } });
    expect(await response.json()).toMatchObject({ error: { param: "speculation.rescorer.type" } });
    expect(
      (await post(CHAT, { messages: user("x"), speculation: { rescorer: { ...rescorer, alpha: 0 } } })).status,
    ).toBe(200);
  });
});

describe("what asks for nothing is accepted:", () => {
  test("fields a client sends by default, and nulls", async () => {
    const { post } = testApp();
    const response = await post(CHAT, {
      messages: [
        ...user("x"),
        { role: "assistant", content: [{ type: "text", text: "y" }], refusal: null, tool_calls: [], annotations: [] },
      ],
      n: 1,
      tools: [],
      tool_choice: "auto",
      presence_penalty: 0,
      frequency_penalty: 0,
      response_format: { type: "text" },
      logit_bias: {},
      user: "me",
      metadata: { a: "b" },
      store: true,
      stop: null,
      seed: null,
      temperature: null,
      max_tokens: null,
      stream_options: null,
      speculation: null,
      functions: null,
      prediction: null,
      modalities: ["text"],
    });
    expect(response.status).toBe(200);
  });

  test("JSON sent as a form, as curl does", async () => {
    const { post } = testApp();
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    expect((await post(CHAT, { messages: user("x") }, { headers })).status).toBe(200);
  });

  test("seeds of any sign become 32 bits; the same one twice is the same", async () => {
    const { post, engine } = testApp();
    for (const seed of [-1, 4294967295, 7]) await post(CHAT, { messages: user("x"), seed });
    expect(engine.specs.map((spec) => spec.sampling.seed)).toEqual([4294967295, 4294967295, 7]);
    expect(engine.specs[0]!.sampling).toMatchObject({ temperature: 1, topP: 1 });
  });
});
