import { afterAll, afterEach, beforeAll, expect, inject, test } from "vitest";
import { type Edge, startEdge } from "../../scripts/edge.ts";
import { type GpuWorker, startGpuWorker } from "../../scripts/gpu-worker.ts";
import { freePort } from "../../scripts/net.ts";
import { eventually } from "./service.ts";

/** Gpu-workers that register with an edge that knows none, and leave it again. */

const KEY = "a key of the tests' own";
const VARS = { DEFAULT_MODEL: "tiny", GPU_WORKER_URL: "", GPU_WORKER_KEY: KEY };
const BODY = JSON.stringify({ model: "tiny", prompt: "a", max_tokens: 4, temperature: 0 });
const JSON_TYPE = { "content-type": "application/json" };

let edge: Edge;
const workers: GpuWorker[] = [];
beforeAll(async () => {
  edge = await startEmpty();
});
afterAll(() => edge?.close());
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.close()));
});

async function startEmpty(port = 0, vars: object = {}): Promise<Edge> {
  return await startEdge({ ...inject("built"), host: "127.0.0.1", port, vars: { ...VARS, ...vars }, quiet: true });
}

async function startWorker(registryUrl: string): Promise<GpuWorker> {
  const port = await freePort("127.0.0.1", 0, "port");
  const env = { GPU_WORKER_REGISTRY_URL: registryUrl, GPU_WORKER_PUBLIC_URL: `http://127.0.0.1:${port}/` };
  const common = { host: "127.0.0.1", port, key: KEY, bundle: "tiny", threads: 1, quiet: true };
  const worker = await startGpuWorker({ ...common, env, log: () => undefined });
  workers.push(worker);
  return worker;
}

function fleet(path = "", init: RequestInit = {}, { url } = edge): Promise<Response> {
  const headers = { authorization: `Bearer ${KEY}`, ...JSON_TYPE, ...init.headers };
  return fetch(`${url}/fleet/workers${path}`, { ...init, headers });
}

async function registered(at = edge): Promise<string[]> {
  const answer = await fleet("", {}, at);
  const { workers: found } = (await answer.json()) as { workers: { url: string; model: string }[] };
  expect(found.every(({ model }) => model === "tiny")).toBe(true);
  return found.map(({ url }) => url);
}

const complete = () => fetch(`${edge.url}/v1/completions`, { method: "POST", headers: JSON_TYPE, body: BODY });

test("a gpu-worker registers, is used, stops and is gone at once", async () => {
  expect(await registered()).toEqual([]);
  const none = await complete();
  expect(none.status).toBe(503);
  expect(await none.json()).toMatchObject({ error: { code: "engine_unavailable" } });

  const first = await startWorker(edge.url);
  await eventually(
    () => registered(),
    (urls) => urls.includes(first.url),
  );
  const alone = await eventually(complete, ({ status }) => status === 200);
  const second = await startWorker(edge.url);
  await eventually(
    () => registered(),
    (urls) => urls.length === 2,
  );

  await first.close();
  expect(await registered()).toEqual([second.url]);
  const { choices } = (await alone.json()) as { choices: unknown };
  // What the edge knows of the fleet may be some seconds old.
  const after = await eventually(complete, ({ status }) => status === 200);
  expect(await after.json()).toMatchObject({ choices });

  await second.close();
  expect(await registered()).toEqual([]);
  expect((await complete()).status).toBe(503);
});

test("one that no longer renews is forgotten, and one whose edge comes later registers then", async () => {
  const port = await freePort("127.0.0.1", 0, "port");
  const worker = await startWorker(`http://127.0.0.1:${port}`);
  const later = await startEmpty(port, { FLEET_LEASE_S: "1" });
  try {
    const renewed = { method: "POST", body: JSON.stringify({ url: "http://127.0.0.1:9", model: "tiny" }) };
    expect((await fleet("", renewed, later)).status).toBe(200);
    await eventually(
      () => registered(later),
      (urls) => !urls.includes("http://127.0.0.1:9"),
    );
    await eventually(
      () => registered(later),
      (urls) => urls.includes(worker.url),
    );
  } finally {
    await later.close();
  }
});

const REFUSED: readonly (readonly [title: string, body: unknown, param: string | null])[] = [
  ["no URL", { model: "tiny" }, "url"],
  ["what is no URL", { url: "worker", model: "tiny" }, "url"],
  ["another scheme", { url: "file:///etc/passwd", model: "tiny" }, "url"],
  ["a URL with a password", { url: "http://a:b@worker:1", model: "tiny" }, "url"],
  ["a URL with a query", { url: "http://worker:1/?to=", model: "tiny" }, "url"],
  ["a URL too long", { url: `http://${"x".repeat(600)}`, model: "tiny" }, "url"],
  ["a model that is not deployed", { url: "http://worker:1", model: "gpt-9" }, "model"],
  ["a field that is none", { url: "http://worker:1", model: "tiny", weight: 1 }, "weight"],
  ["a list", [], null],
];

test("nobody registers without the key, or with anything but an address and a model", async () => {
  const body = JSON.stringify({ url: "http://worker:1", model: "tiny" });
  for (const authorization of ["", "Bearer", "Bearer wrong", `Basic ${KEY}`]) {
    for (const method of ["GET", "POST", "DELETE"]) {
      const init = { method, headers: { authorization }, ...(method === "POST" ? { body } : {}) };
      const response = await fleet("?url=http://worker:1", init);
      expect(response.status).toBe(401);
      expect(await response.json()).toMatchObject({ error: { code: "invalid_api_key" } });
    }
  }
  for (const [title, refused, param] of REFUSED) {
    const response = await fleet("", { method: "POST", body: JSON.stringify(refused) });
    expect(response.status, title).toBe(400);
    expect(await response.json(), title).toMatchObject({ error: { param } });
  }
  expect((await fleet("", { method: "DELETE" })).status).toBe(400);
  expect((await fleet("", { method: "PUT", body })).status).toBe(405);
  expect(await registered()).toEqual([]);
});

test("the fleet is bounded, and a place is free again when one leaves", async () => {
  const add = (n: number) =>
    fleet("", { method: "POST", body: JSON.stringify({ url: `http://worker:${n}/`, model: "tiny" }) });
  const statuses = (await Promise.all(Array.from({ length: 70 }, (_, n) => add(n + 1)))).map(({ status }) => status);
  expect(statuses.filter((status) => status === 200)).toHaveLength(64);
  expect(statuses.filter((status) => status === 503)).toHaveLength(6);
  const [one] = await registered();
  expect((await add(Number(new URL(one!).port))).status).toBe(200);
  const removed = await fleet(`?url=${encodeURIComponent(one!)}`, { method: "DELETE" });
  expect(await removed.json()).toEqual({ url: one, removed: true });
  expect((await add(99)).status).toBe(200);
});
