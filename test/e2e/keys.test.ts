import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import OpenAI from "openai";
import { afterEach, expect, test } from "vitest";
import { abandon } from "../../bench/abuse/abandon.ts";
import { keyHash } from "../../scripts/edge-state.ts";
import { ROOT } from "../../scripts/paths.ts";
import { eventually, type Service, type ServiceOptions, startService } from "./service.ts";

/** Stored keys, as npm run keys makes them: what they allow, what is kept of their use, and that they end. */

let service: Service;
afterEach(() => service?.close());

const ADMIN_KEY = "the administrator's key";
const ASK = { model: "tiny", prompt: "Once upon", max_tokens: 4, temperature: 0 } as const;
const NOBODY = `fd-${"x".repeat(43)}`;

async function start(more: Partial<ServiceOptions> = {}): Promise<void> {
  const vars = { ADMIN_KEYS: keyHash(ADMIN_KEY), ANONYMOUS: "false", ...more.vars };
  service = await startService({ engine: "tiny", ...more, vars });
}

/** stdout of npm run keys; rejects where it fails. */
async function keys(...args: string[]): Promise<string> {
  const env = { ...process.env, ADMIN_KEY };
  const argv = ["scripts/run.mjs", "keys", ...args, "--url", service.url];
  return (await promisify(execFile)(process.execPath, argv, { cwd: ROOT, env })).stdout.trim();
}

/** A key made without the command, which takes its time to start. */
async function add(name: string, limits: object = {}): Promise<string> {
  const response = await post(ADMIN_KEY, { name, ...limits }, "/admin/keys");
  expect(response.status).toBe(200);
  return ((await response.json()) as { key: string }).key;
}

function post(key: string, body: object = ASK, path = "/v1/completions"): Promise<Response> {
  return service.post(path, body, { headers: { "content-type": "application/json", authorization: `Bearer ${key}` } });
}

async function get(path: string, key: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${service.url}${path}`, { headers: { authorization: `Bearer ${key}` } });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

interface Day {
  readonly requests: number;
  readonly prompt_tokens: number;
  readonly cached_tokens: number;
  readonly completion_tokens: number;
}

/** What the key's holder is told of today. */
async function today(key: string): Promise<Day | undefined> {
  return ((await get("/v1/usage", key)).body as unknown as { days: Day[] }).days[0];
}

async function refusal(response: Response) {
  const { error } = (await response.json()) as { error: { code: string; message: string; param: string | null } };
  return { status: response.status, ...error };
}

test("a key made by the command works until it is revoked, and is shown and stored nowhere", async () => {
  await start();
  expect((await service.post("/v1/completions", ASK)).status).toBe(401);
  const key = await keys(
    "add",
    "--name",
    "ann",
    "--requests-per-minute",
    "60",
    "--rescorers",
    "ngram",
    "--expires",
    "30d",
  );
  expect(key).toMatch(/^fd-[\w-]{43}$/);
  await expect(keys("add", "--name", "ann")).rejects.toThrow("there is an active key named 'ann'");
  expect((await service.client({ apiKey: key }).completions.create(ASK)).choices).toHaveLength(1);

  const listed = await keys("list");
  expect(listed).toMatch(/^ann +[0-9a-f]{16} +active +60 +- +- +- +ngram +20/m);
  expect(JSON.stringify(await get("/admin/keys", ADMIN_KEY))).not.toContain(key);
  expect(await keys("revoke", "ann")).toContain("is revoked");
  expect(await refusal(await post(key))).toMatchObject({ status: 401, message: "The API key was revoked." });
  expect((await get("/v1/models", key)).status).toBe(401);
  expect(await keys("list")).toMatch(/^ann .* revoked/m);
  // The name is free again, for another key.
  const next = await keys("add", "ann");
  expect(next).not.toBe(key);
  expect((await post(next)).status).toBe(200);
  expect((await post(key)).status).toBe(401);
});

test("keys nobody made are refused, as the client's AuthenticationError", async () => {
  await start();
  for (const apiKey of [NOBODY, "sk-other"]) {
    const error = await service
      .client({ apiKey })
      .completions.create(ASK)
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.AuthenticationError);
    expect(error).toMatchObject({ code: "invalid_api_key" });
  }
});

test("where anybody may call, a key that is none from here is not looked at, and one from here must be right", async () => {
  await start({ vars: { ANONYMOUS: "true" } });
  expect((await service.post("/v1/completions", ASK)).status).toBe(200);
  expect((await post("none")).status).toBe(200);
  expect((await post(NOBODY)).status).toBe(401);
  expect((await post(await add("ann"))).status).toBe(200);
});

test("a key expires", async () => {
  await start();
  const key = await add("soon", { expires_at: new Date(Date.now() + 1500).toISOString() });
  await eventually(
    async () => refusal(await post(key)),
    ({ message }) => message === "The API key has expired.",
  );
});

test("requests beyond a key's rate get 429 with what is left and when, told on every answer before", async () => {
  await start();
  const key = await add("ann", { requests_per_minute: 1, tokens_per_minute: 100000 });
  const first = await post(key);
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
  const second = await post(key);
  expect(headers(second)).toMatchObject({
    "retry-after": expect.stringMatching(/^\d\d?$/),
    "x-ratelimit-remaining-requests": "0",
  });
  expect(await refusal(second)).toMatchObject({
    status: 429,
    code: "rate_limit_exceeded",
    message: expect.stringContaining("requests_per_minute"),
  });
  const error = await service
    .client({ apiKey: key })
    .completions.create(ASK)
    .catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(OpenAI.RateLimitError);
  // Another key has its own.
  expect((await post(await add("bob", { requests_per_minute: 1 }))).status).toBe(200);
});

test("tokens beyond a key's rate get 429 by what a request may use, and what it did not use comes back", async () => {
  await start();
  const key = await add("ann", { tokens_per_minute: 200 });
  const first = await post(key, { ...ASK, max_tokens: 190, stop: " " });
  expect(Number(first.headers.get("x-ratelimit-remaining-tokens"))).toBeLessThan(10);
  await first.text();
  await eventually(
    () => today(key),
    (day) => day?.requests === 1,
  );
  const second = await post(key, { ...ASK, max_tokens: 100 });
  expect(second.status).toBe(200);
  await second.text();
  await eventually(
    () => today(key),
    (day) => day?.requests === 2,
  );
  expect(await refusal(await post(key, { ...ASK, max_tokens: 190 }))).toMatchObject({
    status: 429,
    message: expect.stringContaining("tokens_per_minute"),
  });
});

test("context, streams and rescorers are those of the key", async () => {
  await start({ engine: "fake", env: { FAKE_STEP_MS: "600000" } });
  const small = await add("small", { max_context: 8 });
  expect(await refusal(await post(small, { ...ASK, prompt: "a b c d e f g h i j k" }))).toMatchObject({
    status: 400,
    code: "context_length_exceeded",
    message: expect.stringContaining("holds 8 tokens"),
  });
  const narrow = await add("narrow", { rescorers: ["ngram"] });
  const wanted = { ...ASK, speculation: { rescorer: { type: "tree" } } };
  expect(await refusal(await post(narrow, wanted))).toMatchObject({
    status: 403,
    code: "forbidden",
    param: "speculation.rescorer.type",
  });
  const single = await add("single", { streams: 1 });
  const leaver = new AbortController();
  const headers = { "content-type": "application/json", authorization: `Bearer ${single}` };
  const running = service.post("/v1/completions", ASK, { headers, signal: leaver.signal }).catch(() => null);
  await eventually(service.openSessions, (count) => count === 1);
  expect(await refusal(await post(single))).toMatchObject({
    status: 429,
    message: expect.stringContaining("(streams)"),
  });
  leaver.abort();
  await running;
});

test("what was used is told by day to the key's holder and the administrator, nobody else's with it", async () => {
  await start();
  const [ann, bob] = [await add("ann"), await add("bob")];
  let prompt = 0;
  let completion = 0;
  for (const body of [ASK, { ...ASK, n: 2 }]) {
    const { usage } = await service.client({ apiKey: ann }).completions.create({ ...body, stream: false });
    prompt += usage!.prompt_tokens;
    completion += usage!.completion_tokens;
  }
  const stream = await service.client({ apiKey: ann }).chat.completions.create({
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
  const day = await eventually(
    () => today(ann),
    (one) => one?.requests === 3,
  );
  expect(day).toMatchObject({ prompt_tokens: prompt, completion_tokens: completion });
  expect(await today(bob)).toBeUndefined();
  expect(await keys("usage", "ann")).toMatch(new RegExp(`^ann .* 3 +${prompt} +\\d+ +${completion}$`, "m"));
  expect(await keys("usage")).not.toMatch(/^bob/m);
  expect((await get("/admin/keys/ann/usage", ann)).status).toBe(401);
  // Requests that fail before the model has begun are none of the key's use.
  expect((await post(bob, { ...ASK, temperature: 9 })).status).toBe(400);
  expect(await today(bob)).toBeUndefined();
});

test("clients that leave have what they used written down, and give their place back", async () => {
  await start({ engine: "fake", env: { FAKE_STEP_MS: "30" } });
  const key = await add("ann", { streams: 1 });
  const url = `${service.url}/v1/completions`;
  let requests = 0;
  for (const manner of ["fin", "rst"] as const) {
    for (const when of [{ afterMs: 10 }, { afterFrames: 2 }]) {
      await abandon(url, { ...ASK, max_tokens: 2000, stream: true }, manner, { ...when, key });
      requests++;
      await eventually(
        () => today(key),
        (day) => day?.requests === requests,
      );
      expect((await post(key)).status).toBe(200);
      requests++;
      await eventually(
        () => today(key),
        (day) => day?.requests === requests,
      );
    }
  }
});

test("keys and what they used outlive the edge", async () => {
  const stateDir = await mkdtemp(join(tmpdir(), "foredraft-state-"));
  try {
    await start({ stateDir });
    const key = await add("ann");
    await (await post(key)).text();
    await eventually(
      () => today(key),
      (day) => day?.requests === 1,
    );
    await service.close();
    const files = (await readdir(stateDir, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    const kept = await Promise.all(files.map((file) => readFile(join(file.parentPath, file.name), "latin1")));
    expect(kept.some((text) => text.includes(keyHash(key).slice(0, 16)))).toBe(true);
    expect(kept.some((text) => text.includes(key))).toBe(false);
    await start({ stateDir });
    expect(await today(key)).toMatchObject({ requests: 1 });
    expect((await post(key)).status).toBe(200);
  } finally {
    await service.close();
    await rm(stateDir, { recursive: true });
  }
});

test("without the administrator's key nobody sees or makes keys, and a body must be right", async () => {
  await start();
  const key = await add("ann");
  for (const wrong of ["wrong", key, service.gpuKey]) {
    expect((await get("/admin/keys", wrong)).status).toBe(401);
    expect((await post(wrong, { name: "eve" }, "/admin/keys")).status).toBe(401);
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
    expect(await refusal(await post(ADMIN_KEY, body, "/admin/keys"))).toMatchObject({ status: 400, param });
  }
  expect((await get("/admin/keys/nobody/usage", ADMIN_KEY)).status).toBe(404);
});
