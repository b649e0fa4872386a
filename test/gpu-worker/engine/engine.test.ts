import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { chain, EMPTY_TREE, treeOf } from "../../../shared/draft-tree.ts";
import type { StepSession } from "../../../shared/engine.ts";
import { Random } from "../../helpers/random.ts";
import { TOY_SPEC, toyEngine, toyText } from "../toy-model.ts";
import { decode, gate, never, promptOf } from "./toy-decoding.ts";

let complaints: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  complaints = vi.spyOn(console, "error").mockImplementation(() => undefined);
});
afterEach(() => {
  complaints.mockRestore();
});

describe("many sessions", () => {
  test("share passes, and every text is what it is alone", async () => {
    const { engine, toy } = toyEngine();
    const random = new Random(4);
    const prompts = Array.from({ length: 16 }, () => promptOf(random, random.int(1, 20)));
    const texts = await Promise.all(prompts.map((prompt, i) => decode(engine, { prompt }, 30, i)));
    for (const [i, prompt] of prompts.entries()) expect(texts[i]).toEqual(toyText([...prompt], 30));
    const together = toy.model.calls.filter((segments) => segments.length > 8).length;
    expect(together).toBeGreaterThan(toy.model.calls.length / 2);
    expect(engine.pages.used).toBe(0);
    expect(engine.openSessions).toBe(0);
  });

  test("a long prompt comes in pieces between other sessions' steps", async () => {
    const { engine, toy } = toyEngine({ passMs: 15 });
    const other = await engine.open(TOY_SPEC, never);
    const opening = engine.open({ ...TOY_SPEC, prompt: new Uint32Array(300) }, never);
    let steps = 0;
    let opened = false;
    void opening.then(() => {
      opened = true;
    });
    while (!opened) await other.step(steps++, EMPTY_TREE, never);
    expect(steps).toBeGreaterThan(5);
    expect(toy.model.calls.some((segments) => segments.length === 2)).toBe(true);
    expect((await opening).opened.bonus).toBe(toyText(new Array<number>(300).fill(0), 1)[0]);
  });

  test("more of them than allowed are overloaded until one is closed, and told when to come again", async () => {
    const { engine } = toyEngine({ maxSessions: 2 });
    const first = await engine.open(TOY_SPEC, never);
    await engine.open(TOY_SPEC, never);
    await expect(engine.open(TOY_SPEC, never)).rejects.toMatchObject({ code: "overloaded", retryAfterS: 1 });
    first.close();
    await engine.open(TOY_SPEC, never);
    expect(engine.openSessions).toBe(2);
  });

  test("one that waits too long for its first pass is told so; the others do not notice", async () => {
    const { engine, toy } = toyEngine({ maxWaitMs: 20 });
    const { release, open, reached } = gate(toy);
    const first = engine.open(TOY_SPEC, never);
    await reached();
    const second = engine.open({ ...TOY_SPEC, prompt: Uint32Array.of(9) }, never);
    await expect(second).rejects.toMatchObject({ code: "timeout" });
    await release();
    open();
    await (await first).step(0, EMPTY_TREE, never);
    expect(engine.openSessions).toBe(1);
  });
});

describe("what is drafted", () => {
  test("is verified as far as it pays; the threshold says how far, and accepted nodes are those of the draft sent", async () => {
    const { engine, toy } = toyEngine();
    const session = await engine.open(TOY_SPEC, never);
    const [a, b] = toyText([...TOY_SPEC.prompt, session.opened.bonus], 2);
    const wrong = (a! + 1) % 16;
    // The unlikely first child comes before the right one, and has a child itself.
    const draft = treeOf([wrong, 3, a!, b!], [-1, 0, -1, 2], Uint8Array.of(2, 1, 250, 240));
    const { accepted, threshold } = await session.step(0, draft, never);
    expect(accepted).toEqual([2, 3]);
    expect(threshold).toBeGreaterThan(2);
    expect(toy.model.calls.at(-1)![0]!.tokens).toHaveLength(3);
  });

  test("is verified whole where the caller insists", async () => {
    const { engine, toy } = toyEngine();
    const session = await engine.open({ ...TOY_SPEC, fixed: true }, never);
    const { threshold } = await session.step(0, treeOf([1, 2], [-1, 0], Uint8Array.of(1, 1)), never);
    expect([threshold, toy.model.calls.at(-1)![0]!.tokens.length]).toEqual([0, 3]);
  });

  test("needs no lattice any more once lattices bring nothing, but is given one now and then", async () => {
    const { engine, toy } = toyEngine();
    const session = await engine.open({ ...TOY_SPEC, heads: 3, topK: 4 }, never);
    const steps = 200;
    for (let index = 0; index < steps; index++) await session.step(index, EMPTY_TREE, never);
    expect(toy.model.headsCalls.length).toBeLessThan(steps / 2);
    expect(toy.model.headsCalls.length).toBeGreaterThan(steps / 20);
  });

  test("always has its lattice where the caller insists", async () => {
    const { engine, toy } = toyEngine();
    const session = await engine.open({ ...TOY_SPEC, heads: 3, topK: 4, fixed: true }, never);
    for (let index = 0; index < 100; index++) await session.step(index, EMPTY_TREE, never);
    expect(toy.model.headsCalls.length).toBe(101);
  });
});

describe("a model that is lost", () => {
  test("is a pause: every session goes on, and no text changes", async () => {
    const { engine, toy } = toyEngine();
    const random = new Random(11);
    const prompts = Array.from({ length: 6 }, () => promptOf(random, random.int(5, 40)));
    let passes = 0;
    const survive = async () => {
      if (++passes % 20 === 0) toy.crashNext();
    };
    toy.model.before = survive;
    const restarted = toy.restart.bind(toy);
    toy.restart = async () => {
      await restarted();
      toy.model.before = survive;
    };
    const texts = await Promise.all(prompts.map((prompt, i) => decode(engine, { prompt }, 300, i)));
    expect(toy.restarts).toBeGreaterThan(2);
    for (const [i, prompt] of prompts.entries()) expect(texts[i]).toEqual(toyText([...prompt], 300));
    expect(engine.pages.used).toBe(0);
  });

  test("again and again in passes of one session ends that one alone", async () => {
    const { engine, toy } = toyEngine();
    const good = await engine.open(TOY_SPEC, never);
    const bad = await engine.open({ ...TOY_SPEC, prompt: Uint32Array.of(13, 13) }, never);
    toy.model.before = async () => {
      const poison = toy.model.calls.at(-1)!.some(({ tokens }) => tokens.includes(13));
      if (poison) throw new Error("an inner secret");
    };
    const [one, other] = await Promise.allSettled([good.step(0, EMPTY_TREE, never), bad.step(0, chain([13]), never)]);
    expect(one.status).toBe("fulfilled");
    expect(other).toMatchObject({ status: "rejected", reason: { code: "engine_failed" } });
    expect(String((other as PromiseRejectedResult).reason.message)).not.toContain("secret");
    await good.step(1, EMPTY_TREE, never);
    expect(engine.openSessions).toBe(1);
  });

  test("and does not come back is the end for all", async () => {
    const { engine, toy } = toyEngine();
    const session = await engine.open(TOY_SPEC, never);
    toy.broken = true;
    toy.crashNext();
    await expect(session.step(0, EMPTY_TREE, never)).rejects.toMatchObject({ code: "engine_unavailable" });
    expect(engine.openSessions).toBe(0);
  });
});

describe("a session", () => {
  test("cancelled in its prefill stops with the pass that runs and gives its memory back", async () => {
    const { engine, toy } = toyEngine({ prefillMs: 12 });
    const { release, reached, open } = gate(toy);
    const controller = new AbortController();
    const opening = engine.open({ ...TOY_SPEC, prompt: new Uint32Array(200) }, controller.signal);
    const rejected = expect(opening).rejects.toMatchObject({ code: "client_closed" });
    await release();
    await reached();
    controller.abort();
    await rejected;
    open();
    await vi.waitFor(() => expect(engine.pages.used).toBe(0));
    expect([engine.openSessions, toy.model.calls.length]).toEqual([0, 2]);
    await engine.open(TOY_SPEC, never);
  });

  test("closed while its pass runs leaves its pages alone until the pass is over", async () => {
    const { engine, toy } = toyEngine({}, 2);
    const session = await engine.open(TOY_SPEC, never);
    const { reached, open } = gate(toy);
    const running = session.step(0, EMPTY_TREE, never);
    await reached();
    session.close();
    await expect(running).rejects.toMatchObject({ code: "client_closed" });
    expect(engine.pages.used).toBe(1);
    open();
    await vi.waitFor(() => expect(engine.pages.used).toBe(0));
  });

  test("is not opened for queries of lattices that have none", async () => {
    const { engine } = toyEngine();
    const opening = engine.open({ ...TOY_SPEC, heads: 2, pair: true }, never);
    await expect(opening).rejects.toMatchObject({ code: "invalid_request", param: "pair" });
    expect(engine.openSessions).toBe(0);
  });

  test("refuses a second step while one runs, and is not disturbed", async () => {
    const { engine, toy } = toyEngine();
    const session = await engine.open(TOY_SPEC, never);
    const { release } = gate(toy);
    const running = session.step(0, EMPTY_TREE, never);
    await expect(session.step(1, EMPTY_TREE, never)).rejects.toMatchObject({ code: "bad_frame" });
    await release();
    await running;
  });

  test("that falls silent makes room, and goes on when it comes back", async () => {
    let now = 0;
    const { engine } = toyEngine({ staleMs: 100, now: () => now }, 4);
    const silent = await engine.open({ ...TOY_SPEC, prompt: new Uint32Array(40) }, never);
    now = 1000;
    const other = await engine.open({ ...TOY_SPEC, prompt: new Uint32Array(40).fill(3) }, never);
    expect(other.opened.bonus).toBe(toyText(new Array<number>(40).fill(3), 1)[0]);
    other.close();
    const zeros = new Array<number>(40).fill(0);
    const next = toyText([...zeros, silent.opened.bonus], 1);
    expect((await silent.step(0, EMPTY_TREE, never)).bonus).toBe(next[0]);
  });
});

test("closing the engine closes every session", async () => {
  const { engine } = toyEngine();
  const session = await engine.open(TOY_SPEC, never);
  await engine.close();
  await expect(session.step(0, EMPTY_TREE, never)).rejects.toMatchObject({ code: "client_closed" });
  await expect(engine.open(TOY_SPEC, never)).rejects.toMatchObject({ code: "engine_unavailable" });
});

test("a thousand sessions leave nothing behind", async () => {
  const { engine } = toyEngine();
  const random = new Random(21);
  const open = new Set<StepSession>();
  for (let i = 0; i < 1000; i++) {
    const controller = new AbortController();
    const opening = engine.open({ ...TOY_SPEC, prompt: promptOf(random, random.int(1, 50)) }, controller.signal);
    if (random.chance(0.3)) controller.abort();
    const session = await opening.catch(() => null);
    if (session !== null) open.add(session);
    for (const one of open) if (random.chance(0.5)) open.delete(one) && one.close();
  }
  for (const one of open) one.close();
  expect([engine.openSessions, engine.pages.used, engine.load.running, engine.load.waiting]).toEqual([0, 0, 0, 0]);
});

test("time is told apart: waiting, and the passes it took part in", async () => {
  let now = 0;
  const { engine, toy } = toyEngine({ now: () => now });
  const session = await engine.open(TOY_SPEC, never);
  toy.model.before = async () => {
    now += 7;
  };
  const { timing } = await session.step(0, EMPTY_TREE, never);
  expect(timing).toEqual({ queueMs: 0, modelMs: 7, engineMs: 0 });
});
