import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ADMIN_KEY, ASK, KeyService, NOBODY, refusal } from "./key-service.ts";
import { eventually } from "./service.ts";

/** Stored keys, as npm run keys makes them: what they allow, what is kept of their use, and that they end. */

let api: KeyService;
beforeAll(async () => {
  api = await KeyService.start();
});
afterAll(() => api?.service.close());

test("a key made by the command works until it is revoked, and is shown and stored nowhere", async () => {
  expect((await api.service.post("/v1/completions", ASK)).status).toBe(401);
  const limits = "--requests-per-minute 60 --rescorers ngram --expires 30d";
  const key = await api.command("add", "--name", "ann", ...limits.split(" "));
  expect(key).toMatch(/^fd-[\w-]{43}$/);
  await expect(api.command("add", "--name", "ann")).rejects.toThrow("there is an active key named 'ann'");
  expect((await api.service.client({ apiKey: key }).completions.create(ASK)).choices).toHaveLength(1);

  const listed = await api.command("list");
  expect(listed).toMatch(/^ann +[0-9a-f]{16} +active +60 +- +- +- +ngram +20/m);
  expect(JSON.stringify(await api.get("/admin/keys", ADMIN_KEY))).not.toContain(key);
  expect(await api.command("revoke", "ann")).toContain("is revoked");
  expect(await refusal(await api.post(key))).toMatchObject({ status: 401, message: "The API key was revoked." });
  expect((await api.get("/v1/models", key)).status).toBe(401);
  expect(await api.command("list")).toMatch(/^ann .* revoked/m);
  // The name is free again, for another key.
  const next = await api.command("add", "ann");
  expect(next).not.toBe(key);
  expect((await api.post(next)).status).toBe(200);
  expect((await api.post(key)).status).toBe(401);
});

test("keys nobody made are refused, as the client's AuthenticationError", async () => {
  for (const apiKey of [NOBODY, "sk-other"]) {
    const error = await api.service
      .client({ apiKey })
      .completions.create(ASK)
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.AuthenticationError);
    expect(error).toMatchObject({ code: "invalid_api_key" });
  }
});

test("a key expires", async () => {
  const key = await api.add("soon", { expires_at: new Date(Date.now() + 1500).toISOString() });
  await eventually(
    async () => refusal(await api.post(key)),
    ({ message }) => message === "The API key has expired.",
  );
});

test("requests beyond a key's rate get 429 with what is left and when, told on every answer before", async () => {
  const key = await api.add("paul", { requests_per_minute: 1, tokens_per_minute: 100000 });
  const first = await api.post(key);
  const headers = (response: Response) =>
    Object.fromEntries([...response.headers].filter(([name]) => /ratelimit|retry/.test(name)));
  expect(headers(first)).toMatchObject({
    "x-ratelimit-limit-requests": "1",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "1m0s",
    "x-ratelimit-limit-tokens": "100000",
    "x-ratelimit-reset-tokens": expect.stringMatching(/^\d+ms$/),
  });
  await first.text();
  const second = await api.post(key);
  expect(headers(second)).toMatchObject({
    "retry-after": expect.stringMatching(/^\d\d?$/),
    "x-ratelimit-remaining-requests": "0",
  });
  expect(await refusal(second)).toMatchObject({
    status: 429,
    code: "rate_limit_exceeded",
    message: expect.stringContaining("requests_per_minute"),
  });
  const error = await api.service
    .client({ apiKey: key })
    .completions.create(ASK)
    .catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(OpenAI.RateLimitError);
  // Another key has its own.
  expect((await api.post(await api.add("peter", { requests_per_minute: 1 }))).status).toBe(200);
});

test("tokens beyond a key's rate get 429 by what a request may use, and what it did not use comes back", async () => {
  const key = await api.add("tom", { tokens_per_minute: 200 });
  const first = await api.post(key, { ...ASK, max_tokens: 190, stop: " " });
  expect(Number(first.headers.get("x-ratelimit-remaining-tokens"))).toBeLessThan(10);
  await first.text();
  await api.usedAfter(key, 1);
  const second = await api.post(key, { ...ASK, max_tokens: 100 });
  expect(second.status).toBe(200);
  await second.text();
  await api.usedAfter(key, 2);
  expect(await refusal(await api.post(key, { ...ASK, max_tokens: 190 }))).toMatchObject({
    status: 429,
    message: expect.stringContaining("tokens_per_minute"),
  });
});

test("what was used is told by day to the key's holder and the administrator, nobody else's with it", async () => {
  const [uma, bob] = [await api.add("uma"), await api.add("bob")];
  let prompt = 0;
  let completion = 0;
  for (const body of [ASK, { ...ASK, n: 2 }]) {
    const { usage } = await api.service.client({ apiKey: uma }).completions.create({ ...body, stream: false });
    prompt += usage!.prompt_tokens;
    completion += usage!.completion_tokens;
  }
  const stream = await api.service.client({ apiKey: uma }).chat.completions.create({
    model: "tiny",
    messages: [{ role: "user", content: "Hi" }],
    max_tokens: 8,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const { usage } of stream) {
    prompt += usage?.prompt_tokens ?? 0;
    completion += usage?.completion_tokens ?? 0;
  }
  expect(await api.usedAfter(uma, 3)).toMatchObject({ prompt_tokens: prompt, completion_tokens: completion });
  expect(await api.used(bob)).toMatchObject({ requests: 0 });
  expect(await api.command("usage", "uma")).toMatch(new RegExp(`^uma .* 3 +${prompt} +\\d+ +${completion}$`, "m"));
  expect(await api.command("usage")).not.toMatch(/^bob/m);
  expect((await api.get("/admin/keys/uma/usage", uma)).status).toBe(401);
  // Requests that fail before the model has begun are none of the key's use.
  expect((await api.post(bob, { ...ASK, temperature: 9 })).status).toBe(400);
  expect(await api.used(bob)).toMatchObject({ requests: 0 });
});

test("without the administrator's key nobody sees or makes keys, and a body must be right", async () => {
  const key = await api.add("mallory");
  for (const wrong of ["wrong", key, api.service.gpuKey]) {
    expect((await api.get("/admin/keys", wrong)).status).toBe(401);
    expect((await api.post(wrong, { name: "eve" }, "/admin/keys")).status).toBe(401);
  }
  for (const [body, param] of [
    [{}, "name"],
    [{ name: "a b" }, "name"],
    [{ name: "a", streams: 0 }, "streams"],
    [{ name: "a", rescorers: ["best"] }, "rescorers[0]"],
    [{ name: "a", expires_at: "2020-01-01T00:00:00Z" }, "expires_at"],
    [{ name: "a", expires_at: "soon" }, "expires_at"],
    [{ name: "a", limit: 3 }, "limit"],
  ] as const) {
    expect(await refusal(await api.post(ADMIN_KEY, body, "/admin/keys"))).toMatchObject({ status: 400, param });
  }
  expect((await api.get("/admin/keys/nobody/usage", ADMIN_KEY)).status).toBe(404);
});
