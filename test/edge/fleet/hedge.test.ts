import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { AllFailed, firstOf, patienceFor, type Race } from "../../../edge/fleet/hedge.ts";
import { firstAnswer, PooledEngine, sleep } from "../../../edge/fleet/pooled-engine.ts";
import type { StepEngine, StepSession } from "../../../shared/engine.ts";
import { StepError } from "../../../shared/errors.ts";
import { PLAIN } from "../../helpers/session.ts";
import { INFO } from "../fixture.ts";
import { ScriptedEngine } from "../scripted-engine.ts";

/** Sessions that are opened at a second gpu-worker where the first shows nothing. All in time of its own. */

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const still = () => new AbortController().signal;

/** What one candidate does: when it is reached and when it is done, ms after it began; never where left out. */
interface Script {
  readonly reachedAt?: number;
  readonly doneAt?: number;
  readonly error?: string;
}

function race(scripts: Record<string, Script>) {
  const begun: string[] = [];
  const cancelled: string[] = [];
  const overtaken: [string, number | null][] = [];
  const discarded: string[] = [];
  const made: Race<string, string> = {
    start: (name, signal, reached) => {
      begun.push(`${name}@${Date.now()}`);
      signal.addEventListener("abort", () => cancelled.push(name));
      const { reachedAt, doneAt, error } = scripts[name]!;
      if (reachedAt !== undefined) setTimeout(reached, reachedAt);
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      if (doneAt !== undefined) setTimeout(() => (error ? reject(new Error(error)) : resolve(name)), doneAt);
      return promise;
    },
    patienceMs: () => 100,
    mayBeElsewhere: (error) => (error as Error).message !== "final",
    overtaken: (name, silentMs) => void overtaken.push([name, silentMs]),
    discard: (late) => void discarded.push(late),
    now: () => Date.now(),
  };
  vi.setSystemTime(0);
  const outcome = firstOf(Object.keys(scripts), made, still());
  outcome.catch(() => undefined);
  return { outcome, begun, cancelled, overtaken, discarded };
}

describe("of candidates begun one after the other", () => {
  test("one that answers is the only one", async () => {
    const { outcome, begun, cancelled, overtaken } = race({ a: { reachedAt: 10, doneAt: 900 }, b: {} });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await outcome).toBe("a");
    expect(begun).toEqual(["a@0"]);
    expect([...cancelled, ...overtaken]).toEqual([]);
  });

  test("the next begins where one shows nothing, the first to be done wins, and the others are cancelled", async () => {
    const told = race({ a: {}, b: {}, c: { reachedAt: 5, doneAt: 300 }, d: {} });
    await vi.advanceTimersByTimeAsync(500);
    expect(await told.outcome).toBe("c");
    expect(told.begun).toEqual(["a@0", "b@100", "c@200"]);
    expect(told.cancelled).toEqual(["a", "b"]);
    expect(told.overtaken).toEqual([
      ["a", 500],
      ["b", 400],
    ]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("one that was only slow may still win, and what is done too late is discarded", async () => {
    const told = race({ a: { reachedAt: 150, doneAt: 200 }, b: { reachedAt: 20, doneAt: 300 } });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await told.outcome).toBe("a");
    expect(told.overtaken).toEqual([["b", null]]);
    expect(told.cancelled).toEqual(["b"]);
    expect(told.discarded).toEqual(["b"]);
  });

  test("the next begins at once where one fails, but not a second time for one that was given up on", async () => {
    const told = race({ a: { doneAt: 120, error: "lost" }, b: { doneAt: 60, error: "lost" }, c: { doneAt: 5 } });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await told.outcome).toBe("c");
    expect(told.begun).toEqual(["a@0", "b@100", "c@160"]);
  });

  test("all may fail, which is told once the last has", async () => {
    const told = race({ a: { doneAt: 400, error: "1" }, b: { doneAt: 10, error: "2" } });
    await vi.advanceTimersByTimeAsync(399);
    expect(told.begun).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(1);
    const error = await told.outcome.catch((reason: unknown) => reason);
    expect((error as AllFailed).errors.map(String)).toEqual(["Error: 1", "Error: 2"]);
    await expect(race({}).outcome).rejects.toBeInstanceOf(AllFailed);
  });

  test("none begins for a request that was cancelled, whatever the cancelled one fails by", async () => {
    const controller = new AbortController();
    const begun: [name: string, aborted: boolean][] = [];
    const made: Race<string, string> = {
      start: (name, signal) => {
        begun.push([name, signal.aborted]);
        const { promise, reject } = Promise.withResolvers<string>();
        const fail = () => reject(new Error("not reached"));
        if (signal.aborted) fail();
        else signal.addEventListener("abort", fail);
        return promise;
      },
      patienceMs: () => 100,
      mayBeElsewhere: () => true,
      overtaken: () => undefined,
      discard: () => undefined,
      now: () => Date.now(),
    };
    const outcome = expect(firstOf(["a", "b"], made, controller.signal)).rejects.toBeInstanceOf(AllFailed);
    controller.abort();
    await outcome;
    expect(begun).toEqual([
      ["a", false],
      ["b", true],
    ]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("an error that others would meet, too, ends it", async () => {
    const told = race({ a: {}, b: { doneAt: 10, error: "final" }, c: {} });
    await vi.advanceTimersByTimeAsync(200);
    await expect(told.outcome).rejects.toThrow("final");
    expect(told.cancelled).toEqual(["a"]);
    expect(told.begun).toHaveLength(2);
  });

  test("is a small multiple of the usual time waited for, within bounds", () => {
    expect([null, 0, 1, 100, 5_000].map(patienceFor)).toEqual([1_000, 250, 250, 400, 1_500]);
  });
});

/** Gpu-workers of which some show nothing until their connecting is given up, after 3 s. */
function fleet(names: readonly string[], hung: ReadonlySet<string>) {
  const opening = new Map<string, number>();
  const tried: string[] = [];
  const engineAt = (url: string): StepEngine => ({
    async open(spec, signal, ahead): Promise<StepSession> {
      tried.push(url);
      opening.set(url, (opening.get(url) ?? 0) + 1);
      try {
        await sleep(hung.has(url) ? 3_000 : 2, signal);
        if (hung.has(url)) throw new StepError("engine_unavailable", "nothing was heard of it");
        ahead?.({ roundTripMs: null, costs: null });
        return await new ScriptedEngine({ text: "hello" }, INFO).open(spec, signal);
      } finally {
        opening.set(url, opening.get(url)! - 1);
      }
    },
  });
  const now = () => performance.now();
  const pool = new PooledEngine({
    workers: async () => names,
    engineAt,
    now,
    random: () => 0,
    sleep,
    resumeMs: 10_000,
  });
  const open = async (first = 0) => {
    tried.length = 0;
    const startedAt = now();
    const spec = { ...PLAIN, prompt: Uint32Array.from({ length: 130 }, (_, i) => i + first), tenant: "ann" };
    const opened = pool.open(spec, still());
    opened.catch(() => undefined);
    while (tried.length === 0 || [...opening.values()].some((count) => count > 0)) await vi.advanceTimersByTimeAsync(1);
    await opened;
    return { tried: [...tried], ms: Math.round(now() - startedAt) };
  };
  return { open };
}

describe("a fleet of which all but one hang", () => {
  test("costs the first session a part of a deadline, not one for each, and the next ones nothing", async () => {
    const hung = new Set<string>();
    const { open } = fleet(["a", "b", "c"], hung);
    for (const first of [0, 1_000, 2_000]) await open(first);
    hung.add("a").add("b");
    const { tried, ms } = await open(5_000);
    expect(tried).toEqual(["a", "b", "c"]);
    // Twice the least patience, where each would have taken 3 s to find out.
    expect(ms).toBeLessThan(600);
    expect((await open(6_000)).tried).toEqual(["c"]);
    expect((await open(7_000)).tried).toEqual(["c"]);
  });

  test("is tried again by and by, at the price of a pause, until it is back", async () => {
    const hung = new Set(["a"]);
    const { open } = fleet(["a", "b"], hung);
    await open(0);
    const seen: string[] = [];
    for (let i = 1; i < 40; i++) {
      await vi.advanceTimersByTimeAsync(1_000);
      if (i === 20) hung.delete("a");
      const { tried, ms } = await open(1_000 * i);
      expect(ms).toBeLessThan(1_100);
      seen.push(tried.join("+"));
    }
    const probes = seen.slice(0, 19).filter((one) => one === "a+b").length;
    expect(probes).toBeGreaterThan(0);
    expect(probes).toBeLessThan(4);
    expect(seen.slice(20)).toContain("a");
  });
});

test("what all gpu-workers know is asked of the next one where one says nothing", async () => {
  const asked: string[] = [];
  const ask = async (url: string) => {
    asked.push(`${url}@${Date.now()}`);
    return await (url === "d" ? url : Promise.withResolvers<string>().promise);
  };
  vi.setSystemTime(0);
  const answer = firstAnswer(async () => ["a", "b", "d", "e"], ask, still());
  await vi.advanceTimersByTimeAsync(2_500);
  expect(await answer).toBe("d");
  expect(asked).toEqual(["a@0", "b@1000", "d@2000"]);
});
