import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ForwardQueue } from "../../gpu-worker/queue.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const never = new AbortController().signal;

/** Work that ends when told to. */
function work<T>(value: T) {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  let started = false;
  return {
    run: () => {
      started = true;
      return promise;
    },
    end: () => resolve(value),
    fail: (error: Error) => reject(error),
    get started() {
      return started;
    },
  };
}

const settle = () => vi.advanceTimersByTimeAsync(0);

test("runs one at a time, in the order of asking", async () => {
  const queue = new ForwardQueue(1000, () => 0);
  const jobs = ["a", "b", "c"].map(work);
  const turns = jobs.map((job) => queue.run(job.run, never));
  expect(jobs.map(({ started }) => started)).toEqual([true, false, false]);
  expect(queue.waiting).toBe(2);
  jobs[0]!.end();
  await settle();
  expect(jobs.map(({ started }) => started)).toEqual([true, true, false]);
  jobs[1]!.end();
  jobs[2]!.end();
  expect((await Promise.all(turns)).map(({ value }) => value)).toEqual(["a", "b", "c"]);
});

test("says how long each waited", async () => {
  let now = 0;
  const queue = new ForwardQueue(1000, () => now);
  const first = work(1);
  const turns = [queue.run(first.run, never), queue.run(async () => 2, never)];
  now = 30;
  first.end();
  expect((await Promise.all(turns)).map(({ waitedMs }) => waitedMs)).toEqual([0, 30]);
});

test("failed work fails its own turn only", async () => {
  const queue = new ForwardQueue(1000, () => 0);
  const bad = work(1);
  const failing = queue.run(bad.run, never);
  const next = queue.run(async () => 2, never);
  bad.fail(new Error("no"));
  await expect(failing).rejects.toThrow("no");
  expect((await next).value).toBe(2);
});

test("what is cancelled while waiting never runs", async () => {
  const queue = new ForwardQueue(1000, () => 0);
  const first = work(1);
  const running = queue.run(first.run, never);
  const controller = new AbortController();
  const second = work(2);
  const cancelled = queue.run(second.run, controller.signal);
  controller.abort();
  await expect(cancelled).rejects.toMatchObject({ code: "client_closed" });
  expect(queue.waiting).toBe(0);
  first.end();
  await running;
  expect(second.started).toBe(false);
});

test("what is cancelled while running is rejected at once but keeps the turn to its end", async () => {
  const queue = new ForwardQueue(1000, () => 0);
  const controller = new AbortController();
  const first = work(1);
  const cancelled = queue.run(first.run, controller.signal);
  const second = work(2);
  void queue.run(second.run, never);
  controller.abort();
  await expect(cancelled).rejects.toMatchObject({ code: "client_closed" });
  expect(second.started).toBe(false);
  first.end();
  await settle();
  expect(second.started).toBe(true);
});

test("what is cancelled before asking does not queue", async () => {
  const queue = new ForwardQueue(1000, () => 0);
  await expect(queue.run(async () => 1, AbortSignal.abort())).rejects.toMatchObject({ code: "client_closed" });
  expect(queue.waiting).toBe(0);
});

test("waiting too long is a timeout; running long is not", async () => {
  const queue = new ForwardQueue(1000, () => 0);
  const first = work(1);
  const running = queue.run(first.run, never);
  const late = queue.run(async () => 2, never);
  const refused = expect(late).rejects.toMatchObject({ code: "timeout" });
  await vi.advanceTimersByTimeAsync(1000);
  await refused;
  first.end();
  expect((await running).value).toBe(1);
});
