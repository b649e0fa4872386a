import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually, type Service, startService } from "./service.ts";

/** OpenAI's own client straight at the gpu-worker, as a router before it would call. */

let service: Service;
let direct: OpenAI;
beforeAll(async () => {
  service = await startService({ engine: "tiny" });
  direct = client(service.gpuKey);
});
afterAll(() => service?.close());

const client = (apiKey: string) => new OpenAI({ baseURL: `${service.gpuWorker.url}/v1`, apiKey, maxRetries: 0 });
const MESSAGES = [{ role: "user" as const, content: "The little cat" }];
const ASKED = { model: "tiny", messages: MESSAGES, max_tokens: 40, temperature: 0 };

test("answers chats as the edge does, drafting beside the model", async () => {
  const here = await direct.chat.completions.create(ASKED);
  const there = await service.client().chat.completions.create(ASKED);
  expect(here.choices).toEqual(there.choices);
  expect(here.usage?.completion_tokens).toBe(there.usage?.completion_tokens);
  const { placement } = (here as unknown as { metrics: { placement: { chosen: string; steps: object } } }).metrics;
  expect(placement).toMatchObject({ chosen: "gpu", mode: "gpu", steps: { edge: 0 } });
});

test("streams, with usage at the end", async () => {
  const whole = await direct.chat.completions.create(ASKED);
  const stream = await direct.chat.completions.create({
    ...ASKED,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let tokens = 0;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    tokens = chunk.usage?.completion_tokens ?? tokens;
  }
  expect(text).toBe(whole.choices[0]?.message.content);
  expect(tokens).toBe(whole.usage?.completion_tokens);
});

test("completes raw prompts, samples the same for the same seed, and lists its model", async () => {
  const sampled = { model: "tiny", prompt: "The little cat", max_tokens: 20, temperature: 0.9, seed: 7 };
  const here = await direct.completions.create(sampled);
  const there = await service.client().completions.create(sampled);
  expect(here.choices).toEqual(there.choices);
  expect((await direct.models.list()).data.map(({ id }) => id)).toEqual(["tiny"]);
  expect((await direct.models.retrieve("tiny")).id).toBe("tiny");
});

test("turns away who lacks the key, and says what is wrong with a request", async () => {
  await expect(client("another key").chat.completions.create(ASKED)).rejects.toMatchObject({
    status: 401,
    code: "invalid_api_key",
  });
  await expect(direct.chat.completions.create({ ...ASKED, temperature: 9 })).rejects.toMatchObject({
    status: 400,
    param: "temperature",
  });
  await expect(direct.chat.completions.create({ ...ASKED, model: "other" })).rejects.toMatchObject({ status: 404 });
  const page = { authorization: `Bearer ${service.gpuKey}`, origin: "https://page.example" };
  expect((await fetch(`${service.gpuWorker.url}/v1/models`, { headers: page })).status).toBe(403);
});

test("an answer that nobody reads any more ends its session", async () => {
  const stream = await direct.chat.completions.create({ ...ASKED, max_tokens: 200, stream: true });
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
  stream.controller.abort();
  await eventually(service.openSessions, (open) => open === 0);
});
