import { once } from "node:events";
import { afterEach, expect, test, vi } from "vitest";
import { type GpuServer, startServer } from "../../../gpu-worker/serve/server.ts";
import { treeOf } from "../../../shared/draft-tree.ts";
import type { OpenSpec } from "../../../shared/engine.ts";
import { PROTOCOL_VERSION } from "../../../shared/messages.ts";
import { ask, openSocket } from "../../contract/ws-client.ts";
import { DRAFTING } from "../../fakes/drafting.ts";
import { createFakeEngine, type FakeEngine, type FakeOptions } from "../../fakes/fake-engine.ts";
import { metric } from "../metric.ts";

/** What the gpu-worker's server reports at /metrics. */

const KEY = "a key for these tests";
const spec: OpenSpec = {
  model: "fake",
  prompt: Uint32Array.of(1, 2, 3),
  heads: 2,
  topK: 4,
  sampling: { temperature: 0, topP: 1, seed: 0 },
  logProbs: null,
  neural: null,
  fixed: false,
  tenant: "",
};
const never = new AbortController().signal;

let server: GpuServer;
afterEach(() => server.close(0));

async function start(options: FakeOptions = {}): Promise<FakeEngine> {
  server = await startServer({ host: "127.0.0.1", port: 0, key: KEY });
  const engine = createFakeEngine(options);
  server.serve(engine, DRAFTING);
  return engine;
}

test("they count sessions, steps, tokens and errors", async () => {
  const engine = await start({ threshold: 100 });
  const socket = await openSocket(server.url, KEY);
  await ask(socket, { type: "open", version: PROTOCOL_VERSION, spec }, never);
  const truth = engine.next([...spec.prompt, engine.next([...spec.prompt])]);
  const draft = treeOf([truth, 40, 41], [-1, 0, 0], Uint8Array.of(200, 150, 99));
  await ask(socket, { type: "step", index: 0, draft }, never);
  expect(await metric(server.url, "foredraft_sessions_open")).toBe(1);
  expect(await metric(server.url, "foredraft_spec_decode_num_drafts_total")).toBe(1);
  expect(await metric(server.url, "foredraft_spec_decode_num_draft_tokens_total")).toBe(2);
  expect(await metric(server.url, "foredraft_spec_decode_num_unverified_tokens_total")).toBe(1);
  expect(await metric(server.url, "foredraft_spec_decode_num_accepted_tokens_total")).toBe(1);
  expect(await metric(server.url, "foredraft_prompt_tokens_total")).toBe(3);
  expect(await metric(server.url, 'foredraft_request_inference_time_seconds_count{kind="step"}')).toBe(1);
  expect(await metric(server.url, 'foredraft_request_queue_time_seconds_count{kind="prefill"}')).toBe(1);
  socket.send("text");
  await once(socket, "close");
  await vi.waitFor(async () => expect(await metric(server.url, "foredraft_sessions_open")).toBe(0));
  expect(await metric(server.url, 'foredraft_errors_total{code="bad_frame"}')).toBe(1);
});

test("they tell how busy the engine is, nothing while there is none", async () => {
  server = await startServer({ host: "127.0.0.1", port: 0, key: KEY });
  const gauges = ["num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"];
  const told = () => Promise.all(gauges.map((name) => metric(server.url, `foredraft_${name}`)));
  expect(await told()).toEqual([0, 0, 0]);
  const load = { running: 3, waiting: 2, kvUsed: 0.25, passMs: 8 };
  server.serve({ ...createFakeEngine(), load }, DRAFTING);
  expect(await told()).toEqual([3, 2, 0.25]);
});

test("they count what the engine tells of its passes, prefixes, preemptions and losses", async () => {
  await start();
  const { metrics } = server;
  metrics.pass({ rows: 12, wanted: 5, context: 0.5, heads: 2, sessions: 3, committed: 4, ms: 20 });
  metrics.pass({ rows: 1, wanted: 1, context: 0.5, heads: 0, sessions: 1, committed: 1, ms: 5 });
  metrics.shared(32, 100);
  metrics.preempted();
  metrics.lost();
  expect(await metric(server.url, "foredraft_generation_tokens_total")).toBe(5);
  expect(await metric(server.url, "foredraft_iteration_tokens_total_sum")).toBe(13);
  expect(await metric(server.url, "foredraft_iteration_sessions_sum")).toBe(4);
  expect(await metric(server.url, "foredraft_pass_seconds_sum")).toBe(0.025);
  expect(await metric(server.url, "foredraft_pass_seconds_count")).toBe(2);
  expect(await metric(server.url, "foredraft_prefix_cache_queries_total")).toBe(100);
  expect(await metric(server.url, "foredraft_prefix_cache_hits_total")).toBe(32);
  expect(await metric(server.url, "foredraft_num_preemptions_total")).toBe(1);
  expect(await metric(server.url, "foredraft_model_restarts_total")).toBe(1);
});
