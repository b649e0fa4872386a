import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Gathering } from "../../../gpu-worker/engine/gathering.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Whether a wait for these times of expected requests is over after `ms`, where `come` happens at times of its own. */
async function over(expected: (number | null)[], ms: number, come: readonly [at: number, who: number][] = []) {
  const start = performance.now();
  const sessions = expected.map((at) => ({ expectedAt: at === null ? null : start + at }));
  const gathering = new Gathering(() => performance.now());
  let done = false;
  const waiting = gathering.wait(sessions, 8).then(() => {
    done = true;
  });
  for (const [at, who] of come) {
    setTimeout(() => {
      sessions[who]!.expectedAt = null;
      gathering.wake();
    }, at);
  }
  await new Promise((resolve) => setImmediate(resolve));
  await vi.advanceTimersByTimeAsync(ms);
  const result = done;
  await vi.advanceTimersByTimeAsync(100);
  await waiting;
  return result;
}

test("nobody is waited for who is not expected, is late, or is expected too late", async () => {
  expect(await over([], 0)).toBe(true);
  expect(await over([null, -1, 9, 60], 0)).toBe(true);
});

test("those who are expected soon are waited for until they come", async () => {
  expect(await over([3, 5], 3, [[2, 0]])).toBe(false);
  expect(
    await over([3, 5], 4, [
      [2, 0],
      [4, 1],
    ]),
  ).toBe(true);
});

test("and no longer than until they were expected", async () => {
  expect(await over([3], 2)).toBe(false);
  expect(await over([3], 4)).toBe(true);
});
