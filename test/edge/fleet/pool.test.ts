import { describe, expect, test } from "vitest";
import { Member } from "../../../edge/fleet/member.ts";
import { firstAnswer, PooledEngine, sleep } from "../../../edge/fleet/pooled-engine.ts";
import { KnownPrefixes, marksOf } from "../../../edge/fleet/prefixes.ts";
import { aged, type Candidate, expectedDelayMs, rank } from "../../../edge/fleet/rank.ts";
import { IDLE, type OpenSpec, type StepEngine } from "../../../shared/engine.ts";
import { type ErrorCode, StepError } from "../../../shared/errors.ts";
import { PLAIN } from "../../helpers/session.ts";
import { INFO } from "../fixture.ts";
import { ScriptedEngine } from "../scripted-engine.ts";

const SPEC: OpenSpec = { ...PLAIN, prompt: Uint32Array.from({ length: 130 }, (_, i) => i), tenant: "ann" };
const still = () => new AbortController().signal;
const IDLE_ONE: Candidate = { url: "a", load: IDLE, fresh: 0, costs: null, knownTokens: 0, state: "closed" };

describe("the order in which gpu-workers are tried", () => {
  test("is by expected delay, those that could not be reached last, ties by chance", () => {
    const busy = { ...IDLE_ONE, url: "busy", load: { running: 20, waiting: 4, kvUsed: 0.5, passMs: 10 } };
    const down: Candidate = { ...IDLE_ONE, url: "down", state: "open" };
    const full = { ...IDLE_ONE, url: "full", load: { ...IDLE, kvUsed: 0.95 } };
    const sent = { ...IDLE_ONE, url: "sent", fresh: 3 };
    expect(rank([down, full, busy, sent, IDLE_ONE], 10, () => 0.5)).toEqual(["a", "sent", "busy", "full", "down"]);
    const ties = [0.9, 0.1];
    expect(rank([IDLE_ONE, { ...IDLE_ONE, url: "b" }], 10, () => ties.shift()!)).toEqual(["b", "a"]);
    expect(rank([], 10, () => 0)).toEqual([]);
  });

  test("has one that may be back at its place as the first, and behind the others as the next", () => {
    const maybe = (url: string): Candidate => ({ ...IDLE_ONE, url, state: "half-open" });
    const busy = { ...IDLE_ONE, url: "busy", load: { ...IDLE, running: 9 } };
    const down: Candidate = { ...IDLE_ONE, url: "down", state: "open" };
    expect(rank([busy, maybe("b"), maybe("c"), down], 10, () => 0)).toEqual(["b", "busy", "c", "down"]);
    expect(rank([down, maybe("b")], 10, () => 0)).toEqual(["b", "down"]);
  });

  test("goes by what is left of an old load", () => {
    const load = { running: 8, waiting: 4, kvUsed: 0.5, passMs: 10 };
    expect(aged(load, 0)).toEqual(load);
    expect(aged(load, -5)).toEqual(load);
    expect(aged(load, 5_000)).toEqual({ running: 4, waiting: 2, kvUsed: 0.25, passMs: 10 });
    expect(aged(load, 600_000).running).toBeLessThan(1e-9);
  });

  test("weighs a known prompt against a queue", () => {
    const knows = { ...IDLE_ONE, url: "knows", knownTokens: 1_000, load: { ...IDLE, running: 2 } };
    expect(rank([IDLE_ONE, knows], 1_000, () => 0)).toEqual(["knows", "a"]);
    expect(rank([IDLE_ONE, knows], 10, () => 0)).toEqual(["a", "knows"]);
    expect(expectedDelayMs(IDLE_ONE, 0)).toBe(0);
    expect(expectedDelayMs({ ...IDLE_ONE, knownTokens: 64 }, 10)).toBe(0);
  });
});

describe("known prefixes", () => {
  test("are those of one tenant, by blocks of 64 tokens", () => {
    const known = new KnownPrefixes();
    known.note(marksOf("ann", SPEC.prompt));
    expect(marksOf("ann", SPEC.prompt)).toHaveLength(2);
    expect(known.tokens(marksOf("ann", SPEC.prompt))).toBe(128);
    expect(known.tokens(marksOf("ann", SPEC.prompt.with(70, 9)))).toBe(64);
    expect(known.tokens(marksOf("ann", SPEC.prompt.with(0, 9)))).toBe(0);
    expect(known.tokens(marksOf("bob", SPEC.prompt))).toBe(0);
    known.forget();
    expect(known.tokens(marksOf("ann", SPEC.prompt))).toBe(0);
  });

  test("are forgotten, the oldest first, and those noted again last", () => {
    const known = new KnownPrefixes();
    known.note([1]);
    known.note([2]);
    known.note([1]);
    known.note(Array.from({ length: 4095 }, (_, i) => i + 10));
    expect(known.tokens([1])).toBe(64);
    expect(known.tokens([2])).toBe(0);
  });
});

describe("a gpu-worker as an edge knows it", () => {
  const member = () => new Member("a", new ScriptedEngine({}, INFO));

  const stateOf = (one: Member, now: number) => one.candidate([], now).state;

  test("is left alone for longer each time it fails, once for all that tell of it", () => {
    const one = member();
    one.failed(0, 0);
    for (let i = 0; i < 10; i++) one.failed(500, 0);
    expect([999, 1_000].map((now) => stateOf(one, now))).toEqual(["open", "half-open"]);
    one.failed(1_000, 0);
    expect([2_999, 3_000].map((now) => stateOf(one, now))).toEqual(["open", "half-open"]);
  });

  test("is left alone for longer where finding out took longer: who hangs costs more than who refuses", () => {
    const refused = member();
    refused.failed(0, 3);
    const hung = member();
    hung.told({ load: IDLE }, 0);
    hung.failed(4_000);
    expect(stateOf(refused, 4_000)).toBe("half-open");
    expect([23_999, 24_000].map((now) => stateOf(hung, now))).toEqual(["open", "half-open"]);
  });

  test("is tried by one caller at a time after it failed, until it tells something", () => {
    const one = member();
    one.sent();
    expect(stateOf(one, 0)).toBe("closed");
    one.failed(0, 0);
    expect(stateOf(one, 1_000)).toBe("half-open");
    one.sent();
    expect(stateOf(one, 1_000)).toBe("open");
    one.unsent();
    expect(stateOf(one, 1_000)).toBe("half-open");
    one.sent();
    one.answered();
    expect(one.candidate([], 1_000)).toMatchObject({ state: "closed", fresh: 1 });
    one.told({ load: IDLE }, 1_000);
    one.sent();
    expect(stateOf(one, 1_000)).toBe("closed");
  });

  test("that was busy once is not for ever: what it told ages", () => {
    const one = member();
    one.told({ load: { running: 32, waiting: 8, kvUsed: 0.96, passMs: 40 } }, 1_000);
    const idle: Candidate = { ...IDLE_ONE, url: "idle", load: { ...IDLE, running: 1, passMs: 40 } };
    const order = (now: number) => rank([one.candidate([], now), idle], 10, () => 0);
    expect(order(1_000)).toEqual(["idle", "a"]);
    expect(order(61_000)).toEqual(["a", "idle"]);
    one.told({ load: { running: 32, waiting: 8, kvUsed: 0.96, passMs: 40 } }, 61_000);
    expect(order(61_000)).toEqual(["idle", "a"]);
  });

  test("is there again once it tells something, and has forgotten prompts when it was lost", () => {
    const one = member();
    const marks = marksOf("ann", SPEC.prompt);
    one.prefixes.note(marks);
    one.sent();
    one.told({ load: { ...IDLE, running: 3 } }, 0, INFO.costs);
    expect(one.candidate(marks, 0)).toMatchObject({
      fresh: 0,
      knownTokens: 128,
      costs: INFO.costs,
      load: { running: 3 },
    });
    one.sent();
    expect(one.candidate(marks, 0).fresh).toBe(1);
    one.failed(0, 0);
    expect(one.candidate(marks, 0)).toMatchObject({ fresh: 0, knownTokens: 0, load: null, state: "open" });
    one.told({ load: IDLE }, 0);
    expect(one.candidate(marks, 0).state).toBe("closed");
  });
});

/** Engines by name, each of which says the text or fails to open with these codes, one after the other. */
function pool(failures: Record<string, ErrorCode[]>, resumeMs = 1_000) {
  const tried: string[] = [];
  const pauses: number[] = [];
  let now = 0;
  const engineAt = (url: string): StepEngine => ({
    async open(spec, signal) {
      tried.push(url);
      const code = failures[url]!.shift();
      if (code !== undefined) throw new StepError(code, code, null, code === "overloaded" ? 7 : null);
      return await new ScriptedEngine({ text: "hello" }, INFO).open(spec, signal);
    },
  });
  const engine = new PooledEngine({
    workers: async () => Object.keys(failures),
    engineAt,
    now: () => now,
    random: () => 0,
    sleep: async (ms) => {
      pauses.push(ms);
      now += ms;
    },
    resumeMs,
  });
  return { engine, tried, pauses };
}

describe("several engines as one", () => {
  test.each<ErrorCode>([
    "engine_unavailable",
    "engine_lost",
    "overloaded",
    "timeout",
    "bad_frame",
    "protocol_mismatch",
  ])("open elsewhere where one answers %s", async (code) => {
    const { engine, tried } = pool({ a: [code], b: [] });
    await engine.open(SPEC, still());
    expect(tried).toEqual(["a", "b"]);
  });

  test.each<ErrorCode>(["invalid_request", "model_not_found", "client_closed", "engine_failed"])(
    "pass on %s, which another one would say, too",
    async (code) => {
      const { engine, tried } = pool({ a: [code], b: [] });
      await expect(engine.open(SPEC, still())).rejects.toMatchObject({ code });
      expect(tried).toEqual(["a"]);
      await engine.open(SPEC, still());
      expect(tried).toEqual(["a", "a"]);
    },
  );

  test("try each once, and say of several errors when to come again", async () => {
    const { engine, tried } = pool({ a: ["engine_unavailable"], b: ["overloaded"], c: ["timeout"] });
    await expect(engine.open(SPEC, still())).rejects.toMatchObject({ code: "overloaded", retryAfterS: 7 });
    expect(tried).toEqual(["a", "b", "c"]);
    await expect(pool({}).engine.open(SPEC, still())).rejects.toMatchObject({ code: "engine_unavailable" });
  });

  test("leave alone for a while what could not be reached", async () => {
    const { engine, tried } = pool({ a: ["engine_unavailable"], b: [] });
    await engine.open(SPEC, still());
    await engine.open(SPEC, still());
    expect(tried).toEqual(["a", "b", "b"]);
  });

  test("that hang cost their deadline once, not every session that comes after", async () => {
    let now = 0;
    const tried: string[] = [];
    const hung = new Set(["a", "b", "c"]);
    const engineAt = (url: string): StepEngine => ({
      async open(spec, signal) {
        tried.push(url);
        if (!hung.has(url)) return await new ScriptedEngine({ text: "hello" }, INFO).open(spec, signal);
        now += 5_000;
        throw new StepError("engine_unavailable", "nothing was heard of it");
      },
    });
    const workers = async () => ["a", "b", "c", "d"];
    const pool = new PooledEngine({ workers, engineAt, now: () => now, random: () => 0, sleep, resumeMs: 1_000 });
    const opened = async (first = 0) => {
      tried.length = 0;
      await pool.open({ ...SPEC, prompt: SPEC.prompt.with(0, first) }, still());
      return [...tried];
    };
    expect(await opened()).toEqual(["a", "b", "c", "d"]);
    for (let i = 0; i < 9; i++) {
      now += 900;
      expect(await opened()).toEqual(["d"]);
    }
    // One of them is tried again after a while, and whoever does it goes on where there is no doubt.
    now += 30_000;
    hung.delete("b");
    expect(await opened(7)).toEqual(["a", "d"]);
    expect(await opened(8)).toEqual(["b"]);
  });

  test("are asked for something by turns until one answers", async () => {
    const asked: string[] = [];
    const ask = async (url: string) => {
      asked.push(url);
      if (url === "a") throw new StepError("engine_unavailable", "down");
      return url;
    };
    expect(await firstAnswer(async () => ["a", "b", "c"], ask, still())).toBe("b");
    expect(asked).toEqual(["a", "b"]);
    await expect(firstAnswer(async () => ["a"], ask, still())).rejects.toMatchObject({ code: "engine_unavailable" });
    await expect(firstAnswer(async () => [], ask, still())).rejects.toMatchObject({ code: "engine_unavailable" });
  });

  test("wait no longer once the request is cancelled", async () => {
    const controller = new AbortController();
    const waiting = sleep(60_000, controller.signal);
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: "client_closed" });
    await expect(sleep(60_000, controller.signal)).rejects.toMatchObject({ code: "client_closed" });
    await sleep(0, still());
  });
});
