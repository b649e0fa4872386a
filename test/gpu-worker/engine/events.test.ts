import { expect, test, vi } from "vitest";
import type { EngineEvents } from "../../../gpu-worker/engine/events.ts";
import { chain, EMPTY_TREE } from "../../../shared/draft-tree.ts";
import { TOY_SPEC, toyEngine, toyText } from "../toy-model.ts";
import { never } from "./toy-decoding.ts";

/** What an engine tells whoever keeps its statistics. */

function watched() {
  const events = {
    pass: vi.fn<EngineEvents["pass"]>(),
    shared: vi.fn<EngineEvents["shared"]>(),
    preempted: vi.fn(),
    lost: vi.fn(),
  };
  let now = 0;
  const { engine, toy } = toyEngine({ events, now: () => now });
  toy.model.before = async () => {
    now += 7;
  };
  return { engine, toy, events };
}

test("a pass is told with what it consisted of, its sessions, what they committed and its time", async () => {
  const { engine, events } = watched();
  const prompt = Uint32Array.from({ length: 30 }, (_, i) => i % 16);
  const session = await engine.open({ ...TOY_SPEC, prompt, heads: 3, topK: 4, fixed: true }, never);
  expect(events.pass.mock.calls).toEqual([
    [{ rows: 30, wanted: 0, context: (30 * 15) / 1024, heads: 1, sessions: 1, committed: 1, ms: 7 }],
  ]);
  const other = await engine.open({ ...TOY_SPEC, prompt: Uint32Array.of(5) }, never);
  const [a, b] = toyText([...prompt, session.opened.bonus], 2);
  await Promise.all([session.step(0, chain([a!, b!]), never), other.step(0, EMPTY_TREE, never)]);
  const together = { rows: 4, wanted: 4, context: (3 * 30 + 1) / 1024, heads: 1, sessions: 2, committed: 4, ms: 7 };
  expect(events.pass.mock.lastCall).toEqual([together]);
});

test("a prompt's look into the cache is told once, with what it found", async () => {
  const { engine, events } = watched();
  const prompt = Uint32Array.from({ length: 40 }, (_, i) => i % 16);
  await engine.open({ ...TOY_SPEC, prompt }, never);
  await engine.open({ ...TOY_SPEC, prompt: Uint32Array.of(...prompt, 1) }, never);
  expect(events.shared.mock.calls).toEqual([
    [0, 40],
    [32, 41],
  ]);
});

test("a lost model is told, once each time; preemption and loss are not told where there is none", async () => {
  const { engine, toy, events } = watched();
  const session = await engine.open(TOY_SPEC, never);
  expect([events.lost.mock.calls.length, events.preempted.mock.calls.length]).toEqual([0, 0]);
  toy.crashNext();
  await session.step(0, EMPTY_TREE, never);
  toy.crashNext();
  await session.step(1, EMPTY_TREE, never);
  expect([events.lost.mock.calls.length, events.preempted.mock.calls.length]).toEqual([2, 0]);
});
