import { createHash } from "node:crypto";
import OpenAI from "openai";
import { afterEach, expect, test } from "vitest";
import { abandon } from "../../bench/abuse/abandon.ts";
import { eventually, type Service, startService } from "./service.ts";

/** What requests of one gpu-worker share: computed prompts with their own kind, passes and places with all. */

let service: Service;
afterEach(() => service?.close());

const STORY = "Once upon a time there was a little dog that lived by the sea with a boy who told it stories. ";
const ASK = { model: "tiny", max_tokens: 16, temperature: 0 } as const;

test("what a caller has asked before need not be computed again, which other callers are not told", async () => {
  const hashes = ["ann", "bob"].map((key) => createHash("sha256").update(key).digest("hex"));
  service = await startService({ engine: "tiny", vars: { API_KEYS: hashes.join(",") } });
  const ask = async (apiKey: string, prompt: string) => {
    const { usage, choices } = await service.client({ apiKey }).completions.create({ ...ASK, prompt });
    return {
      prompt: usage!.prompt_tokens,
      cached: usage!.prompt_tokens_details!.cached_tokens!,
      text: choices[0]!.text,
    };
  };
  const first = await ask("ann", STORY);
  expect(first.cached).toBe(0);
  const again = await ask("ann", STORY);
  expect(again.text).toBe(first.text);
  // Whole pages of it, but never the last token, which has to run for what follows.
  expect(again.cached).toBe(first.prompt - 1 - ((first.prompt - 1) % 16));
  expect(again.cached).toBeGreaterThan(0);
  const longer = await ask("ann", `${STORY}${first.text} And then`);
  expect(longer.cached).toBeGreaterThanOrEqual(again.cached);
  const other = await ask("bob", STORY);
  expect(other).toEqual(first);
});

test("completions that run at once say what each says alone, drafted or not, greedy or sampled", async () => {
  service = await startService({ engine: "tiny", vars: { MAX_STREAMS: "16" } });
  const bodies = ["Once upon a time", "The little dog said", "1 2 3 4", "Why?"].flatMap((prompt, i) => [
    { ...ASK, prompt, max_tokens: 60 },
    { ...ASK, prompt, max_tokens: 60, speculation: { enabled: false } },
    { ...ASK, prompt, max_tokens: 60, speculation: { rescorer: { type: "tree", prompt: true } } },
    { ...ASK, prompt, max_tokens: 60, temperature: 1, seed: i, speculation: { max_nodes: 16 } },
  ]);
  const say = async (body: object) => {
    const response = await service.post("/v1/completions", body);
    expect(response.status).toBe(200);
    return ((await response.json()) as { choices: unknown }).choices;
  };
  const alone: unknown[] = [];
  for (const body of bodies) alone.push(await say(body));
  expect(await Promise.all(bodies.map(say))).toEqual(alone);
});

test("a gpu-worker with all sessions taken says so, and when to come back", async () => {
  const env = { FAKE_STEP_MS: "600000", GPU_WORKER_SESSIONS: "1" };
  service = await startService({ engine: "fake", env });
  const { promise: told, resolve: leave } = Promise.withResolvers<void>();
  const leaving = abandon(`${service.url}/v1/completions`, { ...ASK, prompt: "a" }, "fin", { told });
  await eventually(service.openSessions, (count) => count === 1);
  const error = await service
    .client()
    .completions.create({ ...ASK, prompt: "a" })
    .catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(OpenAI.InternalServerError);
  expect(error).toMatchObject({ status: 503, code: "overloaded" });
  expect((error as InstanceType<typeof OpenAI.APIError>).headers?.get("retry-after")).toMatch(/^[1-9]\d*$/);
  leave();
  await leaving;
});

test("readiness tells what a pass costs", async () => {
  service = await startService({ engine: "tiny" });
  const ready = async () => {
    const response = await fetch(`${service.url}/readyz`);
    return ((await response.json()) as { pass_cost_ms: Record<string, number> }).pass_cost_ms;
  };
  const costs = await ready();
  expect(Object.keys(costs)).toEqual(["pass", "row", "wanted", "context", "heads"]);
  expect(costs.pass).toBeGreaterThan(0);
  expect(Object.values(costs).every((ms) => ms >= 0)).toBe(true);
  // Learnt from the passes that are made.
  await service.post("/v1/completions", { ...ASK, prompt: STORY, max_tokens: 64 });
  expect(await ready()).not.toEqual(costs);
});
