import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createGpuClient, DEADLINES } from "../../edge/engine/gpu-client.ts";
import type { ClientSocket } from "../../edge/engine/link.ts";
import { decodeClient, encodeServer } from "../../shared/codec.ts";
import { canDraft, type DraftingSession } from "../../shared/decode/drafting-session.ts";
import type { RunRequest } from "../../shared/decode/run-request.ts";
import { chain } from "../../shared/draft-tree.ts";
import { IDLE } from "../../shared/engine.ts";
import type { ClientMessage, Echo, ServerMessage } from "../../shared/messages.ts";
import { NO_RUNNERS_UP } from "../../shared/runners-up.ts";
import { PLAIN, PLAIN_RUN, plainResult } from "../helpers/session.ts";
import { INFO } from "./fixture.ts";

const RUN: RunRequest = { ...PLAIN_RUN, limits: { maxTokens: 4_000, eosTokens: [] } };
const RESULT = plainResult(4);
const still = () => new AbortController().signal;

/** The edge's end of a socket whose other end is this test. */
class FakeSocket implements ClientSocket {
  readonly sent: ClientMessage[] = [];
  closed = 0;
  readonly #listeners: { type: string; listener: (event: { readonly data?: unknown }) => void }[] = [];

  send(data: Uint8Array): void {
    this.sent.push(decodeClient(data));
  }
  close(): void {
    this.closed++;
  }
  addEventListener(type: string, listener: (event: { readonly data?: unknown }) => void): void {
    this.#listeners.push({ type, listener });
  }
  tell(type: string, message?: ServerMessage): void {
    const data = message && new Uint8Array(encodeServer(message)).buffer;
    for (const one of this.#listeners) if (one.type === type) one.listener({ data });
  }
}

const blockOf = (call: number, tokens: number, echo: Echo | null = null): ServerMessage => ({
  type: "block",
  block: {
    call,
    committed: Array.from({ length: tokens }, (_, i) => ({ token: i, kind: "accepted", logProbs: null }) as const),
    drafted: tokens,
    verified: null,
    cachedTokens: 0,
    finish: null,
    timing: RESULT.timing,
  },
  echo,
});

let now: number;
let socket: FakeSocket;
beforeEach(() => {
  vi.useFakeTimers();
  now = 0;
  socket = new FakeSocket();
});
afterEach(() => void vi.useRealTimers());

async function open(): Promise<DraftingSession> {
  const opening = createGpuClient(
    async () => socket,
    DEADLINES,
    () => now,
  ).open(PLAIN, still());
  await vi.waitFor(() => expect(socket.sent).toHaveLength(1));
  socket.tell("message", { type: "opened", bundle: INFO, cachedTokens: 0, result: RESULT });
  const session = await opening;
  if (!canDraft(session)) throw new Error("it does not draft");
  return session;
}

describe("a run", () => {
  test("is given credit for what its reader has taken, and no more", async () => {
    const session = await open();
    const run = session.run(RUN, still());
    const first = run.next();
    expect(socket.sent.slice(1)).toEqual([{ type: "run", steps: 0, credit: 256, request: RUN }]);
    for (let i = 0; i < 10; i++) socket.tell("message", blockOf(i, 20));
    expect((await first).value).toMatchObject({ call: 0 });
    expect(socket.sent).toHaveLength(2);
    await run.next();
    await run.next();
    // The third block is being looked at; two are done with.
    expect(socket.sent.slice(2)).toEqual([{ type: "credit", tokens: 40, stamp: 1 }]);
  });

  test.each<[string, ServerMessage]>([
    ["a block that has come before", blockOf(0, 1)],
    ["a block after one that is missing", blockOf(2, 1)],
    ["a step's reply", { type: "stepped", index: 1, result: RESULT }],
    ["an end elsewhere than it got to", { type: "paused", end: { steps: 7, result: RESULT } }],
  ])("is over with %s", async (_, message) => {
    const session = await open();
    const run = session.run(RUN, still());
    const first = run.next();
    socket.tell("message", blockOf(0, 1));
    await first;
    socket.tell("message", message);
    await expect(run.next()).rejects.toMatchObject({ code: "bad_frame" });
    expect(socket.closed).toBe(1);
  });

  test("counts its blocks on after steps, and steps on after it", async () => {
    const session = await open();
    const step = session.step(0, chain([]), still());
    socket.tell("message", { type: "stepped", index: 0, result: RESULT });
    await step;
    const run = session.run(RUN, still());
    const first = run.next();
    socket.tell("message", blockOf(1, 1));
    expect((await first).value).toMatchObject({ call: 0 });
    session.pause();
    socket.tell("message", { type: "paused", end: { steps: 2, result: RESULT } });
    expect(await run.next()).toEqual({
      done: true,
      value: { steps: 2, result: { ...RESULT, runnersUp: NO_RUNNERS_UP } },
    });
    expect(socket.sent.at(-1)).toEqual({ type: "pause" });
  });

  test("tells what came before its socket was lost", async () => {
    const session = await open();
    const run = session.run(RUN, still());
    const first = run.next();
    for (let i = 0; i < 3; i++) socket.tell("message", blockOf(i, 1));
    socket.tell("close");
    await first;
    expect((await run.next()).value).toMatchObject({ call: 1 });
    expect((await run.next()).value).toMatchObject({ call: 2 });
    await expect(run.next()).rejects.toMatchObject({ code: "engine_lost" });
  });

  test("that was cancelled tells nothing more", async () => {
    const session = await open();
    const controller = new AbortController();
    const run = session.run(RUN, controller.signal);
    const first = run.next();
    for (let i = 0; i < 3; i++) socket.tell("message", blockOf(i, 1));
    await first;
    controller.abort();
    await expect(run.next()).rejects.toMatchObject({ code: "client_closed" });
    expect(socket.closed).toBe(1);
  });

  test("shows the round trip where its reader waits, and not where the reader is what takes long", async () => {
    const session = await open();
    const run = session.run(RUN, still());
    const next = async (index: number, echo: Echo | null = null) => {
      const block = run.next();
      await Promise.resolve();
      socket.tell("message", blockOf(index, 40, echo));
      await block;
    };
    await next(0);
    // Asking for the next block sends credit, with stamp 1.
    const second = run.next();
    await vi.waitFor(() => expect(socket.sent.at(-1)).toMatchObject({ type: "credit", stamp: 1 }));
    now += 30;
    socket.tell("message", blockOf(1, 40, { stamp: 1, heldMs: 10, load: { ...IDLE, running: 4 } }));
    await second;
    // The opening took no time, and an eighth of an average is new.
    expect(session.roundTripMs).toBe(20 / 8);
    expect(session.load.running).toBe(4);
    const third = run.next();
    await vi.waitFor(() => expect(socket.sent.at(-1)).toMatchObject({ stamp: 2 }));
    socket.tell("message", blockOf(2, 1));
    socket.tell("message", blockOf(3, 1, { stamp: 2, heldMs: 0, load: IDLE }));
    await third;
    now += 5_000;
    await run.next();
    expect(session.roundTripMs).toBe(20 / 8);
  });
});

describe("silence", () => {
  test("while an answer is waited for means that the engine is lost; signs of life do not", async () => {
    const session = await open();
    const step = session.step(0, chain([]), still());
    const lost = expect(step).rejects.toMatchObject({ code: "engine_lost" });
    for (let i = 0; i < 10; i++) {
      await vi.advanceTimersByTimeAsync(DEADLINES.silenceMs - 1);
      socket.tell("message", { type: "alive" });
    }
    expect(socket.closed).toBe(0);
    await vi.advanceTimersByTimeAsync(DEADLINES.silenceMs);
    await lost;
    expect(socket.closed).toBe(1);
  });

  test("before there is a session means that the engine is not available", async () => {
    const opening = createGpuClient(async () => socket).open(PLAIN, still());
    const refused = expect(opening).rejects.toMatchObject({ code: "engine_unavailable" });
    await vi.advanceTimersByTimeAsync(DEADLINES.silenceMs);
    await refused;
  });

  test("between two steps is nobody's business", async () => {
    const session = await open();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(socket.closed).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
    session.close();
  });
});
