import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { abandon } from "../../bench/abuse/abandon.ts";
import { keyHash } from "../../scripts/edge-state.ts";
import { ASK, KeyService, NOBODY, refusal } from "./key-service.ts";
import { eventually } from "./service.ts";

/** Stored keys where the service is not the usual one: open to all, slow, left by its clients, or started again. */

let api: KeyService;
afterEach(() => api?.service.close());

test("where anybody may call, a key that is none from here is not looked at, and one from here must be right", async () => {
  api = await KeyService.start({ vars: { ANONYMOUS: "true" } });
  expect((await api.service.post("/v1/completions", ASK)).status).toBe(200);
  expect((await api.post("none")).status).toBe(200);
  expect((await api.post(NOBODY)).status).toBe(401);
  expect((await api.post(await api.add("ann"))).status).toBe(200);
});

test("context, streams and rescorers are those of the key", async () => {
  api = await KeyService.start({ engine: "fake", env: { FAKE_STEP_MS: "600000" } });
  const small = await api.add("small", { max_context: 8 });
  expect(await refusal(await api.post(small, { ...ASK, prompt: "a b c d e f g h i j k" }))).toMatchObject({
    status: 400,
    code: "context_length_exceeded",
    message: expect.stringContaining("holds 8 tokens"),
  });
  const narrow = await api.add("narrow", { rescorers: ["ngram"] });
  const wanted = { ...ASK, speculation: { rescorer: { type: "tree" } } };
  expect(await refusal(await api.post(narrow, wanted))).toMatchObject({
    status: 403,
    code: "forbidden",
    param: "speculation.rescorer.type",
  });
  const single = await api.add("single", { streams: 1 });
  const leaver = new AbortController();
  const running = api.post(single, ASK, "/v1/completions", leaver.signal).catch(() => null);
  await eventually(api.service.openSessions, (count) => count === 1);
  expect(await refusal(await api.post(single))).toMatchObject({
    status: 429,
    message: expect.stringContaining("(streams)"),
  });
  leaver.abort();
  await running;
});

test("clients that leave have what they used written down, and give their place back", async () => {
  api = await KeyService.start({ engine: "fake", env: { FAKE_STEP_MS: "30" } });
  const key = await api.add("ann", { streams: 1 });
  const url = `${api.service.url}/v1/completions`;
  let requests = 0;
  for (const manner of ["fin", "rst"] as const) {
    for (const afterFrames of [1, 3]) {
      await abandon(url, { ...ASK, max_tokens: 2000, stream: true }, manner, { afterFrames, key });
      await api.usedAfter(key, ++requests);
      expect((await api.post(key)).status).toBe(200);
      await api.usedAfter(key, ++requests);
    }
  }
});

test("a client that leaves before the first byte has its request counted, but no tokens", async () => {
  api = await KeyService.start({ engine: "fake", env: { FAKE_STEP_MS: "600000" } });
  const key = await api.add("ann", { streams: 1 });
  let requests = 0;
  for (const stream of [true, false]) {
    const { promise: told, resolve: leave } = Promise.withResolvers<void>();
    const leaving = abandon(`${api.service.url}/v1/completions`, { ...ASK, stream }, "rst", { told, key });
    await eventually(api.service.openSessions, (count) => count === 1);
    leave();
    await leaving;
    expect(await api.usedAfter(key, ++requests)).toMatchObject({ prompt_tokens: 0, completion_tokens: 0 });
    await eventually(api.service.openSessions, (count) => count === 0);
  }
});

test("keys and what they used outlive the edge", async () => {
  const stateDir = await mkdtemp(join(tmpdir(), "foredraft-state-"));
  try {
    api = await KeyService.start({ engine: "fake", stateDir });
    const key = await api.add("ann");
    await (await api.post(key)).text();
    await api.usedAfter(key, 1);
    await api.service.close();
    const files = (await readdir(stateDir, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    const kept = await Promise.all(files.map((file) => readFile(join(file.parentPath, file.name), "latin1")));
    expect(kept.some((text) => text.includes(keyHash(key).slice(0, 16)))).toBe(true);
    expect(kept.some((text) => text.includes(key))).toBe(false);
    api = await KeyService.start({ engine: "fake", stateDir });
    expect(await api.used(key)).toMatchObject({ requests: 1 });
    expect((await api.post(key)).status).toBe(200);
  } finally {
    await api.service.close();
    await rm(stateDir, { recursive: true });
  }
}, 120_000);
