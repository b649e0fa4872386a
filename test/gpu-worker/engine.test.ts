import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type EngineOptions, SessionEngine } from "../../gpu-worker/engine.ts";
import { ModelRunner } from "../../gpu-worker/runner.ts";
import { chain, EMPTY_TREE } from "../../shared/draft-tree.ts";
import type { BundleInfo, OpenSpec } from "../../shared/engine.ts";
import { TOY_SHAPE, ToyModel } from "./toy-model.ts";

const INFO: BundleInfo = {
  ...TOY_SHAPE,
  model: "toy",
  tokenizerHash: "",
  provider: "toy",
  costCurve: [],
  neural: false,
};
const SPEC: OpenSpec = {
  model: "toy",
  prompt: Uint32Array.of(1, 2, 3),
  heads: 0,
  topK: 1,
  sampling: { temperature: 0, topP: 1, seed: 0 },
  logProbs: null,
  neural: null,
};
const never = new AbortController().signal;

function engineOf(options: EngineOptions = {}, model = new ToyModel(), kvLimitBytes = 1e9) {
  const runner = new ModelRunner(model, kvLimitBytes);
  return { model, runner, engine: new SessionEngine(runner, INFO, options) };
}

/** Holds every forward pass until `release` lets one go. */
function gate(model: ToyModel) {
  const held: (() => void)[] = [];
  model.before = () => new Promise<void>((resolve) => held.push(resolve));
  const reached = () => vi.waitFor(() => expect(held.length).toBeGreaterThan(0));
  const release = async () => {
    await reached();
    held.shift()!();
  };
  return { reached, release };
}

let complaints: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  complaints = vi.spyOn(console, "error").mockImplementation(() => undefined);
});
afterEach(() => {
  complaints.mockRestore();
});

test("more sessions than allowed are overloaded until one is closed", async () => {
  const { engine } = engineOf({ maxSessions: 2 });
  const first = await engine.open(SPEC, never);
  await engine.open(SPEC, never);
  await expect(engine.open(SPEC, never)).rejects.toMatchObject({ code: "overloaded" });
  first.close();
  await engine.open(SPEC, never);
  expect(engine.openSessions).toBe(2);
});

test("new sessions are overloaded while too many turns wait", async () => {
  const { engine, model } = engineOf({ maxWaiting: 2 });
  const { release } = gate(model);
  const opening = [1, 2, 3].map(() => engine.open(SPEC, never));
  await expect(engine.open(SPEC, never)).rejects.toMatchObject({ code: "overloaded" });
  for (const _ of opening) await release();
  await Promise.all(opening);
});

test("a session over the memory limit is overloaded and leaves nothing behind", async () => {
  const { engine, runner } = engineOf({}, new ToyModel(), 10_000);
  await engine.open(SPEC, never);
  const held = runner.kvBytes;
  await expect(engine.open({ ...SPEC, prompt: new Uint32Array(300) }, never)).rejects.toMatchObject({
    code: "overloaded",
  });
  expect(runner.kvBytes).toBe(held);
  expect(engine.openSessions).toBe(1);
});

test("idle sessions expire, busy and used ones do not", async () => {
  let now = 0;
  const { engine, model } = engineOf({ idleMs: 100, now: () => now });
  const idle = await engine.open(SPEC, never);
  const used = await engine.open(SPEC, never);
  const busy = await engine.open(SPEC, never);
  now = 80;
  await used.step(0, EMPTY_TREE, never);
  const { release } = gate(model);
  const running = busy.step(0, EMPTY_TREE, never);
  now = 150;
  engine.expire();
  expect(engine.openSessions).toBe(2);
  await expect(idle.step(0, EMPTY_TREE, never)).rejects.toMatchObject({ code: "client_closed" });
  await release();
  await running;
  model.before = async () => undefined;
  await used.step(1, EMPTY_TREE, never);
});

test("a long prefill lets other sessions' steps in between its chunks", async () => {
  const { engine, model } = engineOf({ chunkTokens: 10 });
  const other = await engine.open(SPEC, never);
  const { release } = gate(model);
  const opening = engine.open({ ...SPEC, prompt: new Uint32Array(40) }, never);
  await vi.waitFor(() => expect(model.calls.length).toBe(1));
  for (let index = 0; index < 3; index++) {
    const stepping = other.step(index, chain([1]), never);
    await release();
    await release();
    await stepping;
  }
  await release();
  await opening;
  expect(model.calls.slice(1).map(({ rows }) => rows)).toEqual([10, 2, 10, 2, 10, 2, 10]);
});

test("a cancelled prefill stops at the next chunk and frees its memory", async () => {
  const { engine, model, runner } = engineOf({ chunkTokens: 10 });
  const { release, reached } = gate(model);
  const controller = new AbortController();
  const opening = engine.open({ ...SPEC, prompt: new Uint32Array(40) }, controller.signal);
  const rejected = expect(opening).rejects.toMatchObject({ code: "client_closed" });
  await release();
  await reached();
  controller.abort();
  await rejected;
  await release();
  expect(engine.openSessions).toBe(0);
  expect(runner.kvBytes).toBe(0);
  model.before = async () => undefined;
  await engine.open(SPEC, never);
  expect(model.calls.map(({ rows }) => rows)).toEqual([10, 10, 3]);
});

test("a model that fails is engine_failed, says no more, and ends the session alone", async () => {
  const { engine, model } = engineOf();
  const session = await engine.open(SPEC, never);
  const other = await engine.open(SPEC, never);
  model.before = async () => {
    throw new Error("an inner secret");
  };
  await expect(session.step(0, EMPTY_TREE, never)).rejects.toMatchObject({
    code: "engine_failed",
    message: expect.not.stringContaining("secret"),
  });
  expect(complaints).toHaveBeenCalled();
  model.before = async () => undefined;
  await expect(session.step(0, EMPTY_TREE, never)).rejects.toMatchObject({ code: "client_closed" });
  await other.step(0, EMPTY_TREE, never);
  expect(engine.openSessions).toBe(1);
});

test("a second step while one runs is refused and does not disturb it", async () => {
  const { engine, model } = engineOf();
  const session = await engine.open(SPEC, never);
  const { release } = gate(model);
  const running = session.step(0, EMPTY_TREE, never);
  await expect(session.step(1, EMPTY_TREE, never)).rejects.toMatchObject({ code: "bad_frame" });
  await release();
  await running;
});

test("closing the engine closes every session", async () => {
  const { engine, runner } = engineOf();
  const session = await engine.open(SPEC, never);
  await engine.close();
  expect(runner.kvBytes).toBe(0);
  await expect(session.step(0, EMPTY_TREE, never)).rejects.toMatchObject({ code: "client_closed" });
});

test("the timing adds up to the time taken, queue, model and engine apart", async () => {
  let now = 0;
  const model = new ToyModel();
  const runner = new ModelRunner(model, 1e9, null, () => now);
  const engine = new SessionEngine(runner, INFO, { now: () => now });
  const session = await engine.open(SPEC, never);
  model.before = async () => {
    now += 7;
  };
  const { timing } = await session.step(0, EMPTY_TREE, never);
  expect(timing).toEqual({ queueMs: 0, modelMs: 7, engineMs: 0 });
});
