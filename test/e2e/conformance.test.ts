import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import { frames, type Service, startService } from "./service.ts";

/** What ordinary programs send, through the official client; and every answer against the document that is served. */

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({ engine: "tiny" });
  client = service.client();
});
afterAll(() => service?.close());

const model = "tiny";
const messages = [{ role: "user" as const, content: "Tell me a story about a dog." }];
const SAMPLED = { model, messages, temperature: 0.9, seed: 7, max_tokens: 24 };
/** Fields that OpenAI's types do not know. */
const beyond = (fields: object) => fields as Record<string, never>;

describe("choices", () => {
  test("of a chat are those of their seeds alone, streamed or not", async () => {
    const alone: (string | null)[] = [];
    for (const seed of [7, 8, 9]) {
      const { choices } = await client.chat.completions.create({ ...SAMPLED, seed });
      alone.push(choices[0]!.message.content);
    }
    const together = await client.chat.completions.create({ ...SAMPLED, n: 3 });
    expect(together.choices.map(({ message }) => message.content)).toEqual(alone);
    expect(new Set(alone).size).toBe(3);
    const texts = ["", "", ""];
    const stream = await client.chat.completions.create({ ...SAMPLED, n: 3, stream: true });
    for await (const { choices } of stream) texts[choices[0]!.index]! += choices[0]!.delta.content ?? "";
    expect(texts).toEqual(alone);
  });

  test("of one prompt compute it once", async () => {
    const prompt = "Once upon a time there was a dog who lived in a house by the sea. ".repeat(3);
    const { usage } = await client.completions.create({ model, prompt, n: 4, max_tokens: 4, seed: 1 });
    const { usage: again } = await client.completions.create({ model, prompt, max_tokens: 4, seed: 1 });
    expect(usage!.prompt_tokens).toBe(again!.prompt_tokens);
    expect(usage!.prompt_tokens_details?.cached_tokens).toBe(0);
    expect(again!.prompt_tokens_details?.cached_tokens).toBeGreaterThan(0);
  });

  test("of several prompts, with what was said before", async () => {
    const prompt = ["Once upon a time", "The dog"];
    const together = await client.completions.create({ model, prompt, max_tokens: 8, temperature: 0, echo: true });
    for (const [index, one] of prompt.entries()) {
      const { choices } = await client.completions.create({ model, prompt: one, max_tokens: 8, temperature: 0 });
      expect(together.choices[index]).toMatchObject({ index, text: one + choices[0]!.text });
    }
  });
});

describe("text is the same with drafts of any kind and without", () => {
  const kinds = [
    { enabled: false },
    { placement: "edge" },
    { placement: "gpu" },
    { placement: "edge", rescorer: { type: "ngram", alpha: 0, prompt: true, p_best: 4 } },
  ];
  const adjusted = {
    presence_penalty: 0.6,
    frequency_penalty: 0.4,
    repetition_penalty: 1.2,
    logit_bias: { 40: 2, 41: -100, 300: 1.5 },
    top_k: 50,
    min_p: 0.01,
  };
  test.each([
    ["greedy", { temperature: 0 }],
    ["sampled", { temperature: 0.9, top_p: 0.95 }],
  ])("%s, with bias and penalties, 25 prompts", async (_, sampling) => {
    for (let seed = 0; seed < 25; seed++) {
      const body = { model, prompt: [seed + 10, 5 * seed + 30, 77], max_tokens: 24, seed, ...sampling, ...adjusted };
      const texts = await Promise.all(
        kinds.map(async (speculation) => {
          const more = beyond({ speculation, prediction: { type: "content", content: "the dog said the dog" } });
          return (await client.completions.create({ ...body, ...more })).choices[0]!.text;
        }),
      );
      expect(new Set(texts).size, JSON.stringify(texts)).toBe(1);
    }
  });

  test("and bias and penalties do change it", async () => {
    const { tokens } = (await (await service.post("/tokenize", { prompt: "a" })).json()) as { tokens: number[] };
    const textOf = async (bias: number, frequency_penalty: number) => {
      const body = { model, prompt: "x", max_tokens: 40, temperature: 0, frequency_penalty };
      const answer = await client.completions.create({ ...body, logit_bias: { [String(tokens.at(-1))]: bias } });
      return answer.choices[0]!.text;
    };
    expect(await textOf(100, 0)).toBe("a".repeat(40));
    // Each occurrence costs 2 of the 20.
    expect(await textOf(20, 2)).toMatch(/^a{2,39}[^a]/);
  });
});

test("a prediction is where drafts come from", async () => {
  // A draft of a fixed size: on a busy machine the default drafts little.
  const more = beyond({ speculation: { max_nodes: 8 } });
  const body = { model, messages, temperature: 0, max_completion_tokens: 40, ...more };
  const plain = await client.chat.completions.create(body);
  const content = plain.choices[0]!.message.content!;
  const predicted = await client.chat.completions.create({ ...body, prediction: { type: "content", content } });
  expect(predicted.choices[0]!.message.content).toBe(content);
  const { accepted_prediction_tokens: accepted } = predicted.usage!.completion_tokens_details!;
  expect(accepted).toBeGreaterThan(plain.usage!.completion_tokens_details!.accepted_prediction_tokens!);
});

describe("responses", () => {
  const ask = { model, input: "Tell me a story.", temperature: 0, max_output_tokens: 24 };

  test("arrive whole, and as events that add up to the same", async () => {
    const whole = await client.responses.create(ask);
    const chat = { model, messages: [{ role: "user" as const, content: ask.input }], temperature: 0, max_tokens: 24 };
    expect(whole.output_text).toBe((await client.chat.completions.create(chat)).choices[0]!.message.content);
    const stream = client.responses.stream(ask);
    let text = "";
    for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta;
    const final = await stream.finalResponse();
    expect([text, final.output_text]).toEqual([whole.output_text, whole.output_text]);
    expect(final.usage).toEqual(whole.usage && { ...whole.usage, input_tokens_details: expect.anything() });
  });

  test("go on from what they put out, which the caller keeps", async () => {
    const first = await client.responses.create(ask);
    const input = [
      { role: "user" as const, content: ask.input },
      ...first.output,
      { role: "user" as const, content: "More." },
    ];
    const second = await client.responses.create({ ...ask, input: input as OpenAI.Responses.ResponseInput });
    expect(second.usage!.input_tokens).toBeGreaterThan(first.usage!.input_tokens);
    await expect(client.responses.create({ ...ask, previous_response_id: first.id })).rejects.toMatchObject({
      status: 400,
      param: "previous_response_id",
    });
    await expect(client.responses.retrieve(first.id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
  });
});

describe("ordinary clients", () => {
  test("are told what is ignored, and not refused for it", async () => {
    const body = { ...SAMPLED, max_tokens: 1_000_000, stop: "e", reasoning_effort: "low", verbosity: "low" } as const;
    const { data, response } = await client.chat.completions.create(body).withResponse();
    expect(data.choices).toHaveLength(1);
    expect(response.headers.get("x-ignored-fields")).toBe("reasoning_effort, verbosity");
  });

  test.each(["", "/", "/v1/"])("may have the base URL with %j at its end", async (end) => {
    const other = service.client({ baseURL: service.url + end });
    expect((await other.models.list()).data).toHaveLength(1);
    expect((await other.chat.completions.create(SAMPLED)).object).toBe("chat.completion");
  });

  test("are refused embeddings and best_of by name", async () => {
    await expect(client.embeddings.create({ model, input: "x" })).rejects.toMatchObject({ code: "unsupported" });
    await expect(client.completions.create({ model, prompt: "x", best_of: 2 })).rejects.toMatchObject({
      param: "best_of",
    });
  });
});

describe("the OpenAPI document holds", () => {
  let schemas: Record<string, z.ZodType>;
  beforeAll(async () => {
    const document = (await (await fetch(`${service.url}/openapi.json`)).json()) as {
      components: { schemas: Record<string, Parameters<typeof z.fromJSONSchema>[0]> };
    };
    const entries = Object.entries(document.components.schemas);
    schemas = Object.fromEntries(entries.map(([name, schema]) => [name, z.fromJSONSchema(schema)]));
  });
  const holds = (name: string, value: unknown) => {
    const { error } = schemas[name]!.safeParse(value);
    expect(error?.issues ?? [], `${name} of ${JSON.stringify(value)}`).toEqual([]);
  };
  const base = { model, max_tokens: 12, seed: 3 };
  const TOOLS = { tools: [{ type: "function", function: { name: "f" } }], tool_choice: "required", max_tokens: 40 };
  const cases: readonly (readonly [path: string, request: string, answer: string, item: string, body: object])[] = [
    ...[
      {},
      { logprobs: true, top_logprobs: 2, n: 2 },
      { speculation: { trace: true } },
      { stop: ["a"], n: 3 },
      TOOLS,
    ].map(
      (more) =>
        [
          "chat/completions",
          "ChatRequest",
          "ChatCompletion",
          "ChatCompletionChunk",
          { ...base, messages, ...more },
        ] as const,
    ),
    ...[{ logprobs: 2 }, { echo: true, n: 2 }, { speculation: { enabled: false } }].map(
      (more) =>
        [
          "completions",
          "CompletionRequest",
          "Completion",
          "CompletionChunk",
          { ...base, prompt: ["a", "b"], ...more },
        ] as const,
    ),
    ...[
      {},
      { include: ["message.output_text.logprobs"], top_logprobs: 2 },
      { instructions: "Be.", metadata: { a: "b" } },
      { tools: [{ type: "function", name: "f" }], tool_choice: "required", parallel_tool_calls: false },
      { text: { format: { type: "json_schema", name: "x", schema: { const: "done" } } } },
    ].map(
      (more) =>
        [
          "responses",
          "ResponseRequest",
          "Response",
          "ResponseEvent",
          { model, seed: 3, max_output_tokens: 12, input: "hi", ...more },
        ] as const,
    ),
  ];

  test.each(cases)("of /v1/%s and its %s, whole and in a stream (%#)", async (path, request, answer, item, body) => {
    holds(request, body);
    const whole = await service.post(`/v1/${path}`, body);
    expect(whole.status).toBe(200);
    holds(answer, await whole.json());
    const options = path === "responses" ? {} : { stream_options: { include_usage: true } };
    const stream = await service.post(`/v1/${path}`, { ...body, stream: true, ...options });
    let events = 0;
    for await (const frame of frames(stream)) {
      const data = /^data: (\{.*)$/m.exec(frame)?.[1];
      if (data === undefined) continue;
      holds(item, JSON.parse(data));
      events++;
    }
    expect(events).toBeGreaterThan(1);
  });

  test("of errors, and of tokens", async () => {
    holds("Error", await (await service.post("/v1/responses", { input: 3 })).json());
    holds("Tokens", await (await service.post("/v1/tokenize", { messages, return_token_strs: true })).json());
    holds("Text", await (await service.post("/v1/detokenize", { tokens: [40, 41] })).json());
  });
});
