import { describe, expect, test } from "vitest";
import { StepError } from "../../shared/errors.ts";
import { INFO, manifestOf, testApp, user } from "./fixture.ts";

describe("routes", () => {
  test("/v1/models lists what is served, with the speculation defaults", async () => {
    const { app } = testApp();
    const body = (await (await app.request("/v1/models")).json()) as { data: unknown[] };
    expect(body).toMatchObject({
      object: "list",
      data: [
        { id: "toy", object: "model", chat: true },
        { id: "mute", chat: false },
      ],
    });
    const one = (await (await app.request("/v1/models/toy")).json()) as { speculation: object };
    expect(one).toEqual(body.data[0]);
    expect(one.speculation).toMatchObject({
      heads: 8,
      top_k: 4,
      packs: [],
      defaults: { heads: 4, rescorer: { type: "ngram", p_best: 1 } },
    });
    expect((await app.request("/v1/models/gpt")).status).toBe(404);
  });

  test("unknown paths of the API get 404, other methods 405, in OpenAI's shape", async () => {
    const { app } = testApp();
    const missing = await app.request("/v1/nothing");
    expect(missing.status).toBe(404);
    expect(await missing.json()).toMatchObject({ error: { code: "not_found" } });
    expect((await app.request("/bundles/toy/tokenizer.json")).status).toBe(404);
    for (const [method, path, allow] of [
      ["GET", "/v1/chat/completions", "POST"],
      ["DELETE", "/v1/models/toy", "GET, HEAD"],
      ["POST", "/healthz", "GET, HEAD"],
      ["PATCH", "/v1/packs/mine", "GET, HEAD, PUT, DELETE"],
      ["PUT", "/v1/memory/", "GET, HEAD, DELETE"],
      ["GET", "/admin/keys/ann", "DELETE"],
      ["PATCH", "/fleet/workers", "GET, HEAD, POST, DELETE"],
    ] as const) {
      const response = await app.request(path, { method });
      expect(response.status).toBe(405);
      expect(await response.json()).toMatchObject({ error: { code: "method_not_allowed" } });
      expect(response.headers.get("x-request-id")).toMatch(/^req_/);
      expect(response.headers.get("allow")).toBe(allow);
    }
  });

  test("everything else is an asset", async () => {
    const { app } = testApp();
    expect(await (await app.request("/demo.js")).text()).toBe("asset");
  });

  test.each([
    [404, "not_found"],
    [405, "method_not_allowed"],
  ])("what the assets answer %d to is an error in OpenAI's shape", async (status, code) => {
    const { app } = testApp({ deps: { assets: async () => new Response(null, { status }) } });
    const response = await app.request("/nothing", { method: "POST" });
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { code, type: "invalid_request_error" } });
    expect(response.headers.get("allow")).toBe(status === 405 ? "GET, HEAD" : null);
  });

  test("a preflight is answered and the useful headers are exposed, on errors too", async () => {
    const { app, post } = testApp({ env: { CORS_ORIGINS: "*" } });
    const headers = {
      origin: "https://example.org",
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type",
    };
    const preflight = await app.request("/v1/chat/completions", { method: "OPTIONS", headers });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
    expect(preflight.headers.get("access-control-allow-headers")).toContain("authorization");
    const refused = await post("/v1/chat/completions", {}, { headers: { origin: "https://example.org" } });
    expect(refused.headers.get("access-control-allow-origin")).toBe("*");
    expect(refused.headers.get("access-control-expose-headers")).toContain("x-request-id");
  });

  test("a request id is made, or echoed where it is well formed, on errors too", async () => {
    const { app } = testApp();
    const idOf = async (path: string, id?: string) =>
      (await app.request(path, id === undefined ? {} : { headers: { "x-request-id": id } })).headers.get(
        "x-request-id",
      );
    expect(await idOf("/healthz")).toMatch(/^req_[0-9a-f]{32}$/);
    expect(await idOf("/healthz", "mine-1")).toBe("mine-1");
    expect(await idOf("/v1/nothing", "mine-2")).toBe("mine-2");
    expect(await idOf("/v1/models/gpt", "mine-3")).toBe("mine-3");
    expect(await idOf("/healthz", "no good")).toMatch(/^req_/);
  });

  test("/openapi.json is an OpenAPI 3.1 document with the schemas requests are checked by", async () => {
    const { app } = testApp();
    const body = await (await app.request("/openapi.json")).json();
    expect(body).toMatchObject({
      openapi: "3.1.0",
      paths: { "/v1/chat/completions": { post: { responses: { 200: {} } } } },
      components: { schemas: { ChatRequest: { type: "object", required: ["messages"], additionalProperties: false } } },
    });
    expect(JSON.stringify(body)).toContain("p_best");
    expect(JSON.stringify(body)).not.toContain("$schema");
  });
});

describe("readiness", () => {
  test("is given where the engine serves one of our bundles with our tokenizer", async () => {
    const { app } = testApp();
    const response = await app.request("/readyz");
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      status: "ready",
      model: "toy",
      provider: "scripted",
      context_tokens: 512,
      pass_cost_ms: INFO.costs,
    });
  });

  test.each([
    ["another model", { model: "other" }],
    ["another tokenizer", { tokenizerHash: "ff" }],
  ])("is refused for %s", async (_, info) => {
    const response = await testApp({ info }).app.request("/readyz");
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ error: { code: "engine_unavailable" } });
  });

  test("is refused while the engine is down, and so are completions whose tokenizer differs", async () => {
    const down = testApp({
      deps: { engineInfo: () => Promise.reject(new StepError("engine_unavailable", "down")) },
      info: { tokenizerHash: "ff" },
    });
    expect((await down.app.request("/readyz")).status).toBe(503);
    const response = await down.post("/v1/chat/completions", { messages: user("x"), speculation: { enabled: false } });
    expect(await response.json()).toMatchObject({ error: { code: "protocol_mismatch" } });
    expect(down.engine.closed).toBe(1);
  });
});

describe("an engine that is busy", () => {
  test.each([
    ["7", 7],
    ["3", 2.1],
    ["1", 0],
  ])("is to be asked again after %s s where it says %s s", async (header, retryAfterS) => {
    const error = new StepError("overloaded", "The engine is busy.", null, retryAfterS);
    const { post } = testApp({ script: { text: "abc", failAt: { call: 0, error } } });
    for (const stream of [true, false]) {
      const response = await post("/v1/chat/completions", {
        messages: user("x"),
        stream,
        speculation: { enabled: false },
      });
      expect(response.status).toBe(503);
      expect(response.headers.get("retry-after")).toBe(header);
      expect(await response.json()).toMatchObject({ error: { code: "overloaded", message: "The engine is busy." } });
    }
  });
});

describe("bundle files", () => {
  test.each([
    [
      "a tokenizer that differs from its manifest",
      manifestOf("toy", { tokenizer: { path: "tokenizer.json", bytes: 1, sha256: "00" } }),
    ],
    ["a missing file", manifestOf("toy", { tokenizer: { path: "gone.json", bytes: 1, sha256: "00" } })],
  ])("%s stops completions with 503", async (_, manifest) => {
    const { post } = testApp({ manifests: [manifest] });
    const response = await post("/v1/chat/completions", { messages: user("x"), speculation: { enabled: false } });
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ error: { code: "engine_unavailable" } });
  });
});
