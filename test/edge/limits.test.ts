import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { StreamSlots } from "../../edge/http/limits.ts";
import type { StepEngine } from "../../shared/engine.ts";
import { LIMITS } from "../../shared/limits.ts";
import { INFO, testApp, user } from "./fixture.ts";
import { ScriptedEngine } from "./scripted-engine.ts";

const CHAT = "/v1/chat/completions";

describe("the body", () => {
  const big = JSON.stringify({ messages: user("x".repeat(LIMITS.bodyBytes)) });

  test("over the limit gets 413, whatever its length header says", async () => {
    const { app } = testApp();
    const chunks = [big.slice(0, 1000), big.slice(1000)].map((part) => new TextEncoder().encode(part));
    const body = new ReadableStream({
      pull: (controller) => {
        const chunk = chunks.shift();
        if (chunk === undefined) controller.close();
        else controller.enqueue(chunk);
      },
    });
    const init = {
      method: "POST",
      body,
      duplex: "half",
      headers: { "content-type": "application/json", "content-length": "10" },
    };
    const response = await app.request(CHAT, init as RequestInit);
    expect(response.status).toBe(413);
    expect(await response.json()).toMatchObject({ error: { code: "body_too_large" } });
  });

  test("in bad UTF-8 gets 400", async () => {
    const { post } = testApp();
    const body = new Uint8Array([0x7b, 0xff, 0x7d]);
    expect((await post(CHAT, "", { body })).status).toBe(400);
  });

  test("of another type gets 415", async () => {
    const { post } = testApp();
    expect((await post(CHAT, "x", { headers: { "content-type": "multipart/form-data; boundary=x" } })).status).toBe(
      415,
    );
  });
});

describe("lists", () => {
  const schema = (schema: object) => ({
    messages: user("x"),
    response_format: { type: "json_schema", json_schema: { name: "x", schema } },
  });
  const at = "response_format.json_schema.schema";
  const many = (count: number) => Array.from({ length: count }, (_, i) => ({ const: `k${i}` }));
  const pairs = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, "x"]));

  test.each([
    [CHAT, schema({ oneOf: many(101) }), `${at}.oneOf`],
    [CHAT, schema({ allOf: many(101) }), `${at}.allOf`],
    [CHAT, schema({ anyOf: many(1001) }), at],
    [CHAT, schema({ enum: [...Array(1001).keys()] }), `${at}.enum`],
    [CHAT, { messages: user("x"), metadata: pairs(17) }, "metadata"],
    [
      CHAT,
      { messages: Array(9).fill({ role: "assistant", tool_calls: Array(128).fill({}) }) },
      "messages[8].tool_calls",
    ],
    [CHAT, { messages: user("x"), tools: Array(129).fill({}) }, "tools"],
    ["/v1/completions", { prompt: Array(17).fill("x") }, "prompt"],
    ["/v1/responses", { input: "x", metadata: pairs(17) }, "metadata"],
    ["/v1/responses", { input: "x", tools: Array(129).fill({}) }, "tools"],
    [
      "/v1/responses",
      { input: [{ type: "function_call_output", call_id: "1", output: Array(1025).fill({}) }] },
      "input[0].output",
    ],
  ])("are bounded: %s (%#)", async (path, body, param) => {
    const response = await testApp().post(path, body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { param, message: expect.stringContaining("at most") } });
  });

  test("of a pattern's characters are bounded as grammars are", async () => {
    const response = await testApp().post(CHAT, {
      messages: user("x"),
      guided: { regex: "a|".repeat(LIMITS.bodyBytes / 4) },
    });
    expect(await response.json()).toMatchObject({ error: { param: "guided.regex", code: "invalid_request" } });
  });

  test("of alternatives that are compared may have a hundred", async () => {
    expect((await testApp().post(CHAT, schema({ oneOf: many(100) }))).status).toBe(200);
  });
});

describe("keys and limits", () => {
  const hash = createHash("sha256").update("good-key").digest("hex");
  const bearer = (key: string) => ({ headers: { "content-type": "application/json", authorization: `Bearer ${key}` } });

  test("with keys configured, none and a wrong one get 401, the right one passes", async () => {
    const { app, post, logged } = testApp({ env: { API_KEYS: `${"0".repeat(64)}, ${hash}` } });
    const refused = await post(CHAT, { messages: user("x") });
    expect(refused.status).toBe(401);
    expect(await refused.json()).toMatchObject({ error: { code: "invalid_api_key", type: "authentication_error" } });
    expect((await post(CHAT, { messages: user("x") }, bearer("bad-key"))).status).toBe(401);
    expect((await post(CHAT, { messages: user("x") }, bearer("good-key"))).status).toBe(200);
    expect((await app.request("/v1/models")).status).toBe(401);
    expect((await app.request("/healthz")).status).toBe(200);
    expect(JSON.stringify(logged)).not.toContain("key");
  });

  test("a malformed key hash stops the Worker by name, not by value", () => {
    expect(() => testApp({ env: { API_KEYS: "plain-text-key" } })).toThrow(/API_KEYS/);
    expect(() => testApp({ env: { API_KEYS: "plain-text-key" } })).not.toThrow(/plain-text-key/);
  });

  const addressed = (address: string) => ({
    headers: { "content-type": "application/json", "cf-connecting-ip": address },
  });

  test("over the rate limit callers get 429 with the time to wait", async () => {
    let calls = 0;
    const limiter = { limit: async () => ({ success: ++calls < 2 }) };
    const { post } = testApp({ deps: { limiter }, env: { RATE_LIMIT_PERIOD_S: "10", RATE_LIMIT_REQUESTS: "5" } });
    expect((await post(CHAT, { messages: user("x") })).status).toBe(200);
    const refused = await post(CHAT, { messages: user("x") });
    expect(refused.status).toBe(429);
    expect(Object.fromEntries(refused.headers)).toMatchObject({
      "retry-after": "10",
      "x-ratelimit-limit-requests": "5",
      "x-ratelimit-remaining-requests": "0",
      "x-ratelimit-reset-requests": "10s",
    });
  });

  test.each([
    ["without being trusted says nothing of who calls", "false", ["ip:unknown"]],
    [
      "where it is trusted tells callers apart, in IPv6 by network",
      "true",
      ["ip:192.0.2.1", "ip:192.0.2.2", "ip:2001:db8:1:2::/64", "ip:2001:db8:0:0::/64", "ip:0:0:0:0::/64"],
    ],
  ])("cf-connecting-ip %s", async (_, trusted, expected) => {
    const seen: string[] = [];
    const limiter = { limit: async ({ key }: { key: string }) => ({ success: seen.push(key) > 0 }) };
    const { post } = testApp({ deps: { limiter }, env: { TRUST_CONNECTING_IP: trusted } });
    const addresses = ["192.0.2.1", "192.0.2.2", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::9", "2001:db8::1", "::1"];
    for (const address of addresses) await post(CHAT, { messages: user("x") }, addressed(address));
    expect([...new Set(seen)]).toEqual(expected);
  });

  test("the engine is told callers apart by names that are neither keys nor addresses", async () => {
    const tenants = async (env: Record<string, string>, callers: readonly { headers: Record<string, string> }[]) => {
      const { post, engine } = testApp({ env });
      for (const caller of callers) expect((await post(CHAT, { messages: user("x") }, caller)).status).toBe(200);
      return engine.specs.map(({ tenant }) => tenant);
    };
    const other = createHash("sha256").update("other-key").digest("hex");
    const keys = ["good-key", "other-key", "good-key"].map(bearer);
    const addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.1"].map(addressed);
    const byKey = await tenants({ API_KEYS: `${hash},${other}` }, keys);
    const byAddress = await tenants({ TRUST_CONNECTING_IP: "true" }, addresses);
    const untrusted = await tenants({ TRUST_CONNECTING_IP: "false" }, addresses);
    for (const names of [byKey, byAddress]) {
      expect(names[2]).toBe(names[0]);
      expect(names[1]).not.toBe(names[0]);
    }
    expect(new Set(untrusted).size).toBe(1);
    expect(new Set([...byKey, ...byAddress, ...untrusted]).size).toBe(5);
    for (const name of [...byKey, ...byAddress, ...untrusted]) {
      expect(name).toMatch(/^[0-9a-f]{32}$/);
      // Nor the part of a key's hash by which limits are counted.
      for (const told of [hash, other]) expect(name.includes(told.slice(0, 16))).toBe(false);
    }
  });

  test("a place is given back when a request fails", async () => {
    const { post } = testApp({ env: { MAX_STREAMS: "1" } });
    expect((await post(CHAT, { model: "gpt", messages: user("x") })).status).toBe(404);
    expect((await post(CHAT, { messages: user("x") })).status).toBe(200);
    expect((await post(CHAT, { messages: user("x") })).status).toBe(200);
  });

  test("an unexpected error is a 500 that tells nothing, and is logged", async () => {
    const error = new Error("secret detail");
    const { post, logged } = testApp({ script: { text: "a", failAt: { call: 0, error } } });
    const response = await post(CHAT, { messages: user("x"), speculation: { enabled: false } });
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("secret");
    expect(logged).toEqual([error]);
  });
});

describe("places for running completions", () => {
  const ann = { id: "key:ann" };
  const bob = { id: "key:bob" };
  let clock = 0;
  beforeEach(() => {
    clock = 0;
    vi.useFakeTimers();
  });
  afterEach(() => vi.useRealTimers());
  const slots = (perCaller: number, total: number) => new StreamSlots({ perCaller, total }, () => clock);
  const pass = (ms: number) => {
    // Timers and clock advance together, as finely as a lease could need.
    for (let at = 0; at < ms; at += 1000) {
      clock += 1000;
      vi.advanceTimersByTime(1000);
    }
  };

  test("are counted by caller, and given back only once", () => {
    const places = slots(2, 9);
    const release = places.take(ann);
    places.take(ann);
    expect(() => places.take(ann)).toThrow("At most 2 completions");
    places.take(bob);
    release();
    release();
    places.take(ann);
    expect(() => places.take(ann)).toThrow("At most 2 completions");
  });

  test("are bounded in all too, which is not the caller's fault", () => {
    const places = slots(2, 3);
    places.take(ann);
    places.take(ann);
    const release = places.take(bob);
    expect(() => places.take(bob)).toThrow(expect.objectContaining({ code: "overloaded" }));
    release();
    places.take(bob);
  });

  test("are kept for as long as their owner lives, and free some time after it is gone without a word", () => {
    const places = slots(1, 9);
    places.take(ann);
    pass(600_000);
    expect(() => places.take(ann)).toThrow("At most 1 completions");
    // What workerd does to a request whose client is gone.
    vi.clearAllTimers();
    pass(60_000);
    places.take(ann);
    expect(() => places.take(ann)).toThrow("At most 1 completions");
  });

  test("leave no timer behind", () => {
    slots(1, 1).take(ann)();
    expect(vi.getTimerCount()).toBe(0);
  });
});

test.each([true, false])(
  "a client that leaves frees its place though nothing answers, streaming: %s",
  async (stream) => {
    // As in workerd, where nothing that a request waits for comes back once its client is gone.
    const scripted = new ScriptedEngine({ text: "hello" }, INFO);
    const asked = Promise.withResolvers<void>();
    let opened = 0;
    const engine: StepEngine = {
      open: (spec, signal) => {
        if (opened++ > 0) return scripted.open(spec, signal);
        asked.resolve();
        return new Promise(() => {});
      },
    };
    const { post } = testApp({ env: { MAX_STREAMS: "1" }, deps: { engine } });
    const body = { messages: user("x"), stream, speculation: { enabled: false } };
    const client = new AbortController();
    void post(CHAT, body, { signal: client.signal });
    await asked.promise;
    expect((await post(CHAT, body)).status).toBe(429);
    client.abort();
    expect((await post(CHAT, body)).status).toBe(200);
  },
);
