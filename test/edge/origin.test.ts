import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { testApp, user } from "./fixture.ts";

const CHAT = "/v1/chat/completions";
const OWN = "http://localhost:8787";

function ask(env: Record<string, string>, url: string, headers: Record<string, string>, method = "POST") {
  const { app, engine } = testApp({ env });
  const body = method === "POST" ? { body: JSON.stringify({ messages: user("x") }) } : {};
  const answer = app.request(url, { method, headers: { "content-type": "text/plain", ...headers }, ...body });
  return { answer, engine };
}

describe("without keys", () => {
  test("pages of other origins are turned away before any work is done", async () => {
    for (const origin of ["https://example.org", "http://localhost:3000", "null", "not an origin"]) {
      const { answer, engine } = ask({}, `${OWN}${CHAT}`, { origin });
      expect((await answer).status).toBe(403);
      expect(await (await answer).json()).toMatchObject({ error: { code: "forbidden" } });
      expect(engine.specs).toEqual([]);
    }
    const preflight = ask({}, `${OWN}${CHAT}`, { origin: "https://example.org" }, "OPTIONS");
    expect((await preflight.answer).status).toBe(403);
  });

  test("the server's own pages may call, also through a proxy that ends TLS, and so may what is no page", async () => {
    for (const headers of [{ origin: OWN }, { origin: OWN.replace("http:", "https:") }, {}]) {
      expect((await ask({}, `${OWN}${CHAT}`, headers as Record<string, string>).answer).status).toBe(200);
    }
  });

  test("pages of configured origins may call, and read the answer", async () => {
    const env = { CORS_ORIGINS: "https://a.example, https://b.example" };
    const response = await ask(env, `${OWN}${CHAT}`, { origin: "https://b.example" }).answer;
    expect(response.status).toBe(200);
    expect(response.headers.get("access-control-allow-origin")).toBe("https://b.example");
    expect(response.headers.get("vary")).toMatch(/origin/i);
    expect((await ask(env, `${OWN}${CHAT}`, { origin: "https://c.example" }).answer).status).toBe(403);
    const any = await ask({ CORS_ORIGINS: "*" }, `${OWN}${CHAT}`, { origin: "https://c.example" }).answer;
    expect(any.headers.get("access-control-allow-origin")).toBe("*");
  });
});

test("with keys pages of any origin may call, unless the configuration says which", async () => {
  const API_KEYS = createHash("sha256").update("key").digest("hex");
  const headers = { origin: "https://example.org", authorization: "Bearer key" };
  expect((await ask({ API_KEYS }, `${OWN}${CHAT}`, headers).answer).status).toBe(200);
  expect((await ask({ API_KEYS, CORS_ORIGINS: "" }, `${OWN}${CHAT}`, headers).answer).status).toBe(403);
});

describe("a server that answers to certain names", () => {
  const env = { ALLOWED_HOSTS: "box.example" };
  test.each([
    ["http://localhost:8787", 200],
    ["http://demo.localhost:8787", 200],
    ["http://127.0.0.1:8787", 200],
    ["http://[::1]:8787", 200],
    ["http://box.example:8787", 200],
    ["http://evil.example:8787", 403],
    ["http://127.0.0.1.evil.example", 403],
  ])("at %s: %d, for its own page too", async (base, status) => {
    expect((await ask(env, `${base}${CHAT}`, { origin: base }).answer).status).toBe(status);
    expect((await ask(env, `${base}/`, {}, "GET").answer).status).toBe(status);
  });
});
