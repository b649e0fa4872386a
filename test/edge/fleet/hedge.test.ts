import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Attempt, hedged } from "../../../edge/fleet/hedge.ts";
import type { CancelSignal } from "../../../shared/engine.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Attempts by name that the test settles by hand, each with a patience of 100 ms, and what became of them. */
function scene(names: readonly string[]) {
  const told: string[] = [];
  const hands = new Map<string, { resolve: (value: string | null) => void; reject: (error: Error) => void }>();
  const heards = new Map<string, () => void>();
  const attempts = names.map(
    (name): Attempt<string> => ({
      patienceMs: 100,
      late: () => void told.push(`${name} late`),
      begin(signal: CancelSignal, heard) {
        told.push(`${name} begun`);
        if (signal.aborted) told.push(`${name} cancelled`);
        signal.addEventListener("abort", () => told.push(`${name} cancelled`));
        heards.set(name, heard);
        const { promise, resolve, reject } = Promise.withResolvers<string | null>();
        hands.set(name, { resolve, reject });
        return promise;
      },
    }),
  );
  const controller = new AbortController();
  const result = hedged(attempts, controller.signal, (late) => void told.push(`${late} discarded`));
  return {
    told,
    result,
    abort: () => controller.abort(),
    pass: (ms: number) => vi.advanceTimersByTimeAsync(ms),
    heard: (name: string) => heards.get(name)!(),
    settle: async (name: string, value: string | null) => {
      hands.get(name)!.resolve(value);
      await vi.advanceTimersByTimeAsync(0);
    },
    fail: (name: string) => hands.get(name)!.reject(new Error(`${name} failed`)),
  };
}

describe("attempts that may hang", () => {
  test("are made one at a time while the first answers in time, and its success is cancelled by nobody", async () => {
    const { told, result, settle, pass, abort } = scene(["a", "b"]);
    await pass(99);
    await settle("a", "a");
    expect(await result).toBe("a");
    abort();
    await pass(1_000);
    expect(told).toEqual(["a begun"]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("have the next one beside them once they are silent for too long; the first success cancels the others", async () => {
    const { told, result, settle, pass } = scene(["a", "b", "c", "d"]);
    await pass(200);
    expect(told).toEqual(["a begun", "a late", "b begun", "b late", "c begun"]);
    await settle("c", "c");
    expect(await result).toBe("c");
    expect(told.slice(5)).toEqual(["a cancelled", "b cancelled"]);
    await pass(1_000);
    expect(told).toHaveLength(7);
  });

  test("may be late and yet the first", async () => {
    const { told, result, settle, pass } = scene(["a", "b"]);
    await pass(150);
    await settle("a", "a");
    expect(await result).toBe("a");
    expect(told).toEqual(["a begun", "a late", "b begun", "b cancelled"]);
    await settle("b", "b");
    expect(told.at(-1)).toBe("b discarded");
  });

  test("that are alive are waited for, however long they take", async () => {
    const { told, result, settle, pass, heard } = scene(["a", "b"]);
    await pass(50);
    heard("a");
    await pass(60_000);
    await settle("a", "a");
    expect(await result).toBe("a");
    expect(told).toEqual(["a begun"]);
  });

  test("are followed at once by the next where they fail, also while another one is silent", async () => {
    const { told, result, settle, pass } = scene(["a", "b", "c"]);
    await pass(100);
    await settle("b", null);
    expect(told).toEqual(["a begun", "a late", "b begun", "c begun"]);
    await settle("c", null);
    await settle("a", null);
    expect(await result).toBeNull();
    expect(vi.getTimerCount()).toBe(0);
    expect(await scene([]).result).toBeNull();
  });

  test("are all over where one fails by what no other would do better", async () => {
    const { told, result, fail, pass } = scene(["a", "b", "c"]);
    const outcome = expect(result).rejects.toThrow("b failed");
    await pass(100);
    fail("b");
    await outcome;
    expect(told.slice(3)).toEqual(["a cancelled"]);
    await pass(1_000);
    expect(told).toHaveLength(4);
  });

  test("are all cancelled with the request, before and while they run", async () => {
    const running = scene(["a", "b"]);
    await running.pass(100);
    running.abort();
    expect(running.told.slice(3)).toEqual(["a cancelled", "b cancelled"]);
    const outcome = expect(running.result).rejects.toThrow("a failed");
    running.fail("a");
    await outcome;
    const controller = new AbortController();
    controller.abort();
    const seen: boolean[] = [];
    const attempt: Attempt<string> = {
      patienceMs: 100,
      late: () => undefined,
      begin: async (signal) => {
        seen.push(signal.aborted);
        return null;
      },
    };
    expect(await hedged([attempt], controller.signal, () => undefined)).toBeNull();
    expect(seen).toEqual([true]);
  });
});
