import { createHash } from "node:crypto";
import OpenAI from "openai";
import { afterEach, expect, test } from "vitest";
import { type Service, startService } from "./service.ts";

let service: Service;
afterEach(() => service?.close());

const ASK = { model: "tiny", prompt: "a", max_tokens: 4, temperature: 0 } as const;

test("beyond the rate limit callers get 429 with retry-after, as the client's RateLimitError", async () => {
  service = await startService({ engine: "tiny", rateLimit: { limit: 2, period: 60 } });
  const client = service.client();
  await client.completions.create(ASK);
  await client.completions.create(ASK);
  const error = await client.completions.create(ASK).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(OpenAI.RateLimitError);
  expect(error).toMatchObject({ code: "rate_limit_exceeded" });
  expect((error as InstanceType<typeof OpenAI.APIError>).headers?.get("retry-after")).toBe("60");
});

test("a client told to come back in a second does, and is served", async () => {
  service = await startService({ engine: "fake", env: { FAKE_STEP_MS: "50" }, vars: { MAX_STREAMS: "1" } });
  const statuses: number[] = [];
  const counted: typeof fetch = async (...args) => {
    const response = await fetch(...args);
    statuses.push(response.status);
    return response;
  };
  const first = await service.client().completions.create({ ...ASK, max_tokens: 10, stream: true });
  const second = service.client({ maxRetries: 2, fetch: counted }).completions.create(ASK);
  await Array.fromAsync(first);
  expect((await second).choices).toHaveLength(1);
  expect(statuses[0]).toBe(429);
  expect(statuses.at(-1)).toBe(200);
});

test("where API keys are configured one of them is needed", async () => {
  const hash = createHash("sha256").update("right").digest("hex");
  service = await startService({ engine: "tiny", vars: { API_KEYS: hash } });
  await expect(service.client({ apiKey: "wrong" }).completions.create(ASK)).rejects.toBeInstanceOf(
    OpenAI.AuthenticationError,
  );
  expect((await service.post("/v1/completions", ASK)).status).toBe(401);
  expect((await service.client({ apiKey: "right" }).completions.create(ASK)).choices).toHaveLength(1);
});
