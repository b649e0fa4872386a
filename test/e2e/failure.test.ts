import OpenAI from "openai";
import { afterEach, expect, test } from "vitest";
import { eventually, frames, type Service, startService } from "./service.ts";

/** The gpu-worker slow, gone or dying: its server over an engine that takes as long as it is told to. */

let service: Service;
afterEach(() => service?.close());

const STREAM = { model: "tiny", prompt: "a", max_tokens: 200, temperature: 0, stream: true } as const;

function kill(): void {
  process.kill(service.gpuWorker.pid!, "SIGKILL");
}

test("a gpu-worker that is gone gives 503 with retry-after at once, and service resumes when it is back", async () => {
  service = await startService({ engine: "fake" });
  kill();
  const down = await eventually(
    () => service.post("/v1/completions", { ...STREAM, stream: false, max_tokens: 2 }),
    ({ status }) => status !== 200,
  );
  expect(down.status).toBe(503);
  expect(Number(down.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(await down.json()).toMatchObject({ error: { code: "engine_unavailable", type: "server_error" } });
  expect((await fetch(`${service.url}/readyz`)).status).toBe(503);
  expect((await fetch(`${service.url}/healthz`)).status).toBe(200);
  await eventually(
    () => fetch(`${service.url}/readyz`),
    ({ status }) => status === 200,
  );
  const back = await service.client().completions.create({ ...STREAM, stream: false, max_tokens: 2 });
  expect(back.choices).toHaveLength(1);
});

test("a gpu-worker dying in the middle of a stream ends it with an error frame and no [DONE]", async () => {
  service = await startService({ engine: "fake", env: { FAKE_STEP_MS: "100" } });
  const response = await service.post("/v1/completions", STREAM);
  expect(response.status).toBe(200);
  const seen: string[] = [];
  for await (const frame of frames(response)) {
    seen.push(frame);
    if (seen.length === 2) kill();
  }
  expect(seen.length).toBeGreaterThan(2);
  expect(seen).not.toContain("data: [DONE]");
  expect(JSON.parse(seen.at(-1)!.slice("data: ".length))).toMatchObject({ error: { code: "engine_unavailable" } });
});

test("the client raises the error frame as an APIError", async () => {
  service = await startService({ engine: "fake", env: { FAKE_STEP_MS: "100" } });
  const stream = await service.client().completions.create(STREAM);
  let chunks = 0;
  const read = async () => {
    for await (const _chunk of stream) if (++chunks === 2) kill();
  };
  await expect(read()).rejects.toBeInstanceOf(OpenAI.APIError);
  expect(chunks).toBeGreaterThanOrEqual(2);
});

test("a client that leaves frees the session while a step is running", async () => {
  service = await startService({ engine: "fake", env: { FAKE_STEP_MS: "300" } });
  const controller = new AbortController();
  const stream = await service.client().completions.create(STREAM, { signal: controller.signal });
  for await (const _chunk of stream) {
    expect(await service.openSessions()).toBe(1);
    break;
  }
  controller.abort();
  expect(await eventually(service.openSessions, (count) => count === 0)).toBe(0);
});

test("a client that leaves during the prefill frees the session too", async () => {
  service = await startService({ engine: "fake", env: { FAKE_STEP_MS: "700" } });
  const controller = new AbortController();
  const asked = service.client().completions.create(STREAM, { signal: controller.signal });
  setTimeout(() => controller.abort(), 200);
  await expect(asked).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
  expect(await eventually(service.openSessions, (count) => count === 0)).toBe(0);
});
