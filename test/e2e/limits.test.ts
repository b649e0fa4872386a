import { createHash } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
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

/** POSTs from an address of this machine, with headers of the caller's choice; the status. */
async function postFrom(localAddress: string, headers: Record<string, string>): Promise<number | undefined> {
  const options = { method: "POST", localAddress, agent: false, headers: { "content-type": "text/plain", ...headers } };
  const sending = request(`${service.url}/v1/completions`, options).end(JSON.stringify(ASK));
  const [response] = (await once(sending, "response")) as [IncomingMessage];
  response.resume();
  return response.statusCode;
}

test("callers are told apart by the address they call from, not by one they name", async () => {
  service = await startService({ engine: "fake", rateLimit: { limit: 2, period: 60 } });
  const named = (address: string) => ({ "cf-connecting-ip": address, "mf-cf-blob": `{"clientIp":"${address}:1"}` });
  expect(await postFrom("127.0.0.1", named("192.0.2.1"))).toBe(200);
  expect(await postFrom("127.0.0.1", named("192.0.2.2"))).toBe(200);
  expect(await postFrom("127.0.0.1", named("192.0.2.3"))).toBe(429);
  expect(await postFrom("127.0.0.2", {})).toBe(200);
});

test("pages of other origins and of names made to point here may not call, nor is any work done for them", async () => {
  service = await startService({ engine: "fake" });
  const { host } = new URL(service.url);
  expect(await postFrom("127.0.0.1", { origin: `http://${host}` })).toBe(200);
  expect(await postFrom("127.0.0.1", { origin: "https://example.org" })).toBe(403);
  expect(await postFrom("127.0.0.1", { origin: "http://example.org", host: "example.org" })).toBe(403);
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
