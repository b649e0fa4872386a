import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { DONE, frame, sseStream } from "../../edge/http/sse.ts";

const KEEP_ALIVE_MS = 10_000;

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

function streamOf(items: AsyncIterator<unknown>) {
  const calls: string[] = [];
  const body = sseStream(items, {
    frame,
    done: DONE,
    keepAliveMs: KEEP_ALIVE_MS,
    errorData: (error) => ({ error: String(error) }),
    onCancel: () => calls.push("cancel"),
    onEnd: () => calls.push("end"),
  });
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  return { calls, reader, read: async () => (await reader.read()).value };
}

describe("a stream of events", () => {
  test("is one line of JSON a frame, whatever the text holds", () => {
    expect(frame({ text: "a\n\ndata: b\r\u2028" })).toBe('data: {"text":"a\\n\\ndata: b\\r\u2028"}\n\n');
  });

  test("sends a comment after a silence, then goes on, then ends once", async () => {
    const { promise, resolve } = Promise.withResolvers<number>();
    const { calls, read } = streamOf(
      (async function* () {
        yield await promise;
      })(),
    );
    const first = read();
    await vi.advanceTimersByTimeAsync(KEEP_ALIVE_MS);
    expect(await first).toBe(": keep-alive\n\n");
    resolve(1);
    expect([await read(), await read(), await read()]).toEqual(["data: 1\n\n", "data: [DONE]\n\n", undefined]);
    expect(calls).toEqual(["end"]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("ends with an error frame and no [DONE] where the items fail", async () => {
    const { calls, read } = streamOf(
      (async function* () {
        yield 1;
        throw "broken";
      })(),
    );
    expect([await read(), await read(), await read()]).toEqual([
      "data: 1\n\n",
      'data: {"error":"broken"}\n\n',
      undefined,
    ]);
    expect(calls).toEqual(["end"]);
  });

  test("a reader that leaves cancels, ends and closes the items", async () => {
    let closed = false;
    const { calls, reader, read } = streamOf(
      (async function* () {
        try {
          for (;;) yield 1;
        } finally {
          closed = true;
        }
      })(),
    );
    await read();
    await reader.cancel();
    expect(calls).toEqual(["cancel", "end"]);
    expect(closed).toBe(true);
  });
});
