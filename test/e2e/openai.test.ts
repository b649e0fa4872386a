import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually, type Service, startService } from "./service.ts";

/** The official client, unchanged, against the Worker in workerd and the real gpu-worker with `tiny`. */

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({ engine: "tiny" });
  client = service.client();
});
afterAll(() => service?.close());

const MESSAGES = [{ role: "user" as const, content: "Tell me a story." }];
const GREEDY = { model: "tiny", temperature: 0 } as const;

describe("chat completions", () => {
  test("arrive whole, with usage and a reason to finish", async () => {
    const completion = await client.chat.completions.create({
      ...GREEDY,
      messages: MESSAGES,
      max_completion_tokens: 24,
    });
    expect(completion.object).toBe("chat.completion");
    expect(completion.model).toBe("tiny");
    const [choice] = completion.choices;
    expect(choice?.message.role).toBe("assistant");
    expect(choice?.message.content).toMatch(/\S/);
    expect(["stop", "length"]).toContain(choice?.finish_reason);
    const { usage } = completion;
    expect(usage!.completion_tokens).toBeLessThanOrEqual(24);
    expect(usage!.total_tokens).toBe(usage!.prompt_tokens + usage!.completion_tokens);
    expect(usage!.completion_tokens_details?.accepted_prediction_tokens).toBeGreaterThanOrEqual(0);
  });

  test("stream the same text, then usage in a last chunk without choices", async () => {
    const body = { ...GREEDY, messages: MESSAGES, max_completion_tokens: 40 };
    const whole = await client.chat.completions.create(body);
    const stream = await client.chat.completions.create({
      ...body,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = await Array.fromAsync(stream);
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe(
      whole.choices[0]?.message.content,
    );
    expect(chunks[0]?.choices[0]?.delta.role).toBe("assistant");
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    const last = chunks.at(-1)!;
    expect(last.choices).toEqual([]);
    expect(last.usage).toMatchObject({
      prompt_tokens: whole.usage!.prompt_tokens,
      completion_tokens: whole.usage!.completion_tokens,
    });
    expect(chunks.slice(0, -1).every(({ usage }) => usage === null)).toBe(true);
    expect(chunks.filter(({ choices }) => choices[0]?.finish_reason != null)).toHaveLength(1);
  });

  test("work through the client's stream helper", async () => {
    const stream = client.chat.completions.stream({ ...GREEDY, messages: MESSAGES, max_completion_tokens: 12 });
    let text = "";
    stream.on("content", (delta) => (text += delta));
    const final = await stream.finalChatCompletion();
    expect(final.choices[0]?.message.content).toBe(text);
  });

  test("carry the base model's log-probabilities of every token", async () => {
    const body = { ...GREEDY, messages: MESSAGES, max_completion_tokens: 10, logprobs: true, top_logprobs: 3 };
    const completion = await client.chat.completions.create(body);
    const entries = completion.choices[0]?.logprobs?.content ?? [];
    expect(entries.length).toBeGreaterThan(0);
    for (const { token, logprob, top_logprobs } of entries) {
      expect(logprob).toBeLessThanOrEqual(0);
      expect(top_logprobs).toHaveLength(3);
      // Greedy: what was chosen is the likeliest.
      expect(top_logprobs[0]).toMatchObject({ token });
      expect(top_logprobs[0]!.logprob).toBeCloseTo(logprob, 5);
    }
    expect(entries.map(({ token }) => token).join("")).toBe(completion.choices[0]?.message.content);
  });

  test("stop before a stop string", async () => {
    const whole = await client.chat.completions.create({ ...GREEDY, messages: MESSAGES, max_completion_tokens: 40 });
    const text = whole.choices[0]!.message.content!;
    const stop = text.slice(7, 10);
    const cut = await client.chat.completions.create({
      ...GREEDY,
      messages: MESSAGES,
      max_completion_tokens: 40,
      stop,
    });
    expect(cut.choices[0]).toMatchObject({
      finish_reason: "stop",
      message: { content: text.slice(0, text.indexOf(stop)) },
    });
  });
});

describe("completions", () => {
  test("arrive whole and streamed alike", async () => {
    const body = { ...GREEDY, prompt: "Once upon a time", max_tokens: 32 };
    const whole = await client.completions.create(body);
    expect(whole.object).toBe("text_completion");
    const stream = await client.completions.create({ ...body, stream: true, stream_options: { include_usage: true } });
    const chunks = await Array.fromAsync(stream);
    expect(chunks.map((chunk) => chunk.choices[0]?.text ?? "").join("")).toBe(whole.choices[0]?.text);
    expect(chunks.at(-1)?.usage?.completion_tokens).toBe(whole.usage?.completion_tokens);
  });

  test("take token ids for a prompt", async () => {
    const completion = await client.completions.create({ ...GREEDY, prompt: [5, 6, 7], max_tokens: 4 });
    expect(completion.usage?.prompt_tokens).toBeGreaterThanOrEqual(3);
  });
});

test("models are listed and found by name", async () => {
  const models = await Array.fromAsync(client.models.list());
  expect(models.map(({ id }) => id)).toEqual(["tiny"]);
  expect((await client.models.retrieve("tiny")).object).toBe("model");
});

describe("errors become the client's own classes", () => {
  const ask = (more: object) =>
    client.chat.completions.create({ ...GREEDY, messages: MESSAGES, max_tokens: 4, ...more });

  test("a value out of range is a BadRequestError that names the field", async () => {
    const error = await ask({ temperature: 3 }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({ status: 400, param: "temperature", code: "invalid_request" });
    expect((error as InstanceType<typeof OpenAI.APIError>).requestID).toMatch(/\S/);
  });

  test("what is not supported is refused by name", async () => {
    const audio = { voice: "alloy", format: "wav" };
    await expect(ask({ audio })).rejects.toMatchObject({ status: 400, param: "audio", code: "unsupported" });
  });

  test("an unknown model is a NotFoundError", async () => {
    await expect(ask({ model: "no-such" })).rejects.toBeInstanceOf(OpenAI.NotFoundError);
  });
});

describe("abort", () => {
  test("of a stream in the middle ends the session at the gpu-worker", async () => {
    const stream = await client.completions.create({
      model: "tiny",
      prompt: "a",
      max_tokens: 200,
      temperature: 2,
      stream: true,
    });
    for await (const _chunk of stream) break;
    expect(await eventually(service.openSessions, (count) => count === 0)).toBe(0);
  });
});
