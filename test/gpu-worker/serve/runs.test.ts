import { once } from "node:events";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { WebSocket } from "ws";
import type { Drafts } from "../../../gpu-worker/serve/served.ts";
import { type GpuServer, type ServerOptions, startServer } from "../../../gpu-worker/serve/server.ts";
import { decodeServer, encodeClient } from "../../../shared/codec.ts";
import type { RunRequest } from "../../../shared/decode/run-request.ts";
import { EMPTY_TREE } from "../../../shared/draft-tree.ts";
import type { OpenSpec } from "../../../shared/engine.ts";
import { StepError } from "../../../shared/errors.ts";
import {
  type BlockMessage,
  type ClientMessage,
  PROTOCOL_VERSION,
  type ServerMessage,
} from "../../../shared/messages.ts";
import { openSocket } from "../../contract/ws-client.ts";
import { DRAFTING } from "../../fakes/drafting.ts";
import { createFakeEngine, type FakeEngine, type FakeOptions } from "../../fakes/fake-engine.ts";
import { PLAIN } from "../../helpers/session.ts";

const KEY = "a key for these tests";
const SPEC: OpenSpec = { ...PLAIN, model: "fake", prompt: Uint32Array.of(1, 2, 3), heads: 4, topK: 4, fixed: true };
const REQUEST: RunRequest = {
  rescorer: { type: "none" },
  pack: null,
  maxNodes: 4,
  autoNodes: false,
  limits: { maxTokens: 100, eosTokens: [] },
  guided: false,
  verified: false,
};
const OPEN: ClientMessage = { type: "open", version: PROTOCOL_VERSION, spec: SPEC };
const run = (credit: number, change: Partial<RunRequest> = {}, steps = 0): ClientMessage => ({
  type: "run",
  steps,
  credit,
  request: { ...REQUEST, ...change },
});
const credit = (tokens: number, stamp = 1): ClientMessage => ({ type: "credit", tokens, stamp });
const PAUSE: ClientMessage = { type: "pause" };

let server: GpuServer;
let engine: FakeEngine;
afterEach(() => server.close(0));

/** A socket, and what came over it but signs of life. */
async function start(options: Partial<ServerOptions> = {}, fake: FakeOptions = {}, drafting: Drafts = DRAFTING) {
  server = await startServer({ host: "127.0.0.1", port: 0, key: KEY, ...options });
  engine = createFakeEngine(fake);
  server.serve(engine, drafting);
  const socket: WebSocket = await openSocket(server.url, KEY);
  const got: ServerMessage[] = [];
  socket.on("message", (data: Uint8Array) => {
    const message = decodeServer(data);
    if (message.type !== "alive") got.push(message);
  });
  const send = (...messages: ClientMessage[]) => {
    for (const message of messages) socket.send(encodeClient(message));
  };
  const until = (done: () => boolean) => vi.waitFor(() => expect(done()).toBe(true), { timeout: 10_000 });
  const last = () => got.at(-1);
  return { socket, got, send, until, last };
}

const blocks = (got: readonly ServerMessage[]) => got.filter((one): one is BlockMessage => one.type === "block");
const tokensOf = (got: readonly ServerMessage[]) =>
  blocks(got).flatMap(({ block }) => block.committed.map(({ token }) => token));

/** What plain decoding makes of the prompt. */
function plain(count: number): number[] {
  const text = [...SPEC.prompt];
  while (text.length < SPEC.prompt.length + count) text.push(engine.next(text));
  return text.slice(SPEC.prompt.length);
}

describe("a run", () => {
  test("goes no further than its credit and one block, and on with more of it", async () => {
    const { got, send, until } = await start();
    send(OPEN, ...[]);
    await until(() => got.length === 1);
    send(run(10));
    await until(() => tokensOf(got).length >= 10);
    // The engine does nothing for it meanwhile: another session's steps come and go.
    const other = await engine.open(SPEC, new AbortController().signal);
    for (let index = 0; index < 20; index++) await other.step(index, EMPTY_TREE, new AbortController().signal);
    other.close();
    const taken = tokensOf(got).length;
    expect(taken).toBeLessThan(10 + 5);
    send(credit(40, 77));
    await until(() => tokensOf(got).length >= 50);
    expect(tokensOf(got).length).toBeLessThan(50 + 5);
    expect(blocks(got).flatMap(({ echo }) => (echo === null ? [] : [echo.stamp]))).toEqual([77]);
    send(credit(100));
    await until(() => blocks(got).at(-1)?.block.finish === "length");
    expect(tokensOf(got)).toEqual(plain(101).slice(1));
    expect(blocks(got).map(({ block }) => block.call)).toEqual(blocks(got).map((_, i) => i));
    // What comes late is no matter; the session goes on being there.
    send(credit(5), PAUSE);
    expect(engine.openSessions).toBe(1);
  });

  test("without credit waits, and is paused where it is", async () => {
    const { got, send, until, last } = await start();
    send(OPEN);
    await until(() => got.length === 1);
    send(run(0), PAUSE);
    await until(() => last()?.type === "paused");
    expect(last()).toMatchObject({ end: { steps: 0, result: { bonus: plain(1)[0] } } });
    send({ type: "step", index: 0, draft: EMPTY_TREE });
    await until(() => last()?.type === "stepped");
    send(run(1_000, { limits: { maxTokens: 3, eosTokens: [] } }, 1));
    await until(() => blocks(got).at(-1)?.block.finish === "length");
    expect(tokensOf(got)).toEqual(plain(5).slice(2));
  });

  test("paused while its pack is loaded makes no step", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const slow: Drafts = {
      ...DRAFTING,
      rescorer: async (drafted) => {
        await promise;
        return await DRAFTING.rescorer(drafted);
      },
    };
    const { got, send, until, last } = await start({}, { stepMs: 5 }, slow);
    send(OPEN);
    await until(() => got.length === 1);
    send(run(100), PAUSE);
    await new Promise((later) => setTimeout(later, 50));
    resolve();
    await until(() => last()?.type === "paused");
    expect(last()).toMatchObject({ end: { steps: 0 } });
  });

  test("for which the bundle lacks something is paused at once, and the peer drafts", async () => {
    const lacking: Drafts = {
      ...DRAFTING,
      rescorer: async () => {
        throw new StepError("unsupported", "no such pack");
      },
    };
    const { got, send, until, last } = await start({}, {}, lacking);
    send(OPEN);
    await until(() => got.length === 1);
    send({ type: "step", index: 0, draft: EMPTY_TREE });
    await until(() => got.length === 2);
    send(run(100, {}, 1));
    await until(() => last()?.type === "paused");
    expect(last()).toMatchObject({ end: { steps: 1, result: { bonus: plain(2)[1] } } });
    send({ type: "step", index: 1, draft: EMPTY_TREE });
    await until(() => last()?.type === "stepped");
  });

  test("that gets no credit for too long is ended", async () => {
    const { got, send, until, last } = await start({ idleMs: 60 });
    send(OPEN);
    await until(() => got.length === 1);
    send(run(1));
    await until(() => last()?.type === "failed");
    expect(last()).toMatchObject({ code: "timeout" });
    expect(engine.openSessions).toBe(0);
  });

  test("is handed over when the gpu-worker stops: it tells where it got to, then goes away", async () => {
    const { socket, got, send, until, last } = await start({}, { stepMs: 5 });
    send(OPEN);
    await until(() => got.length === 1);
    send(run(1_000));
    await until(() => blocks(got).length > 2);
    const closed = once(socket, "close");
    await server.close(10_000);
    expect((await closed)[0]).toBe(1001);
    const steps = blocks(got).length;
    expect(last()).toMatchObject({ type: "paused", end: { steps } });
    expect(tokensOf(got)).toEqual(plain(tokensOf(got).length + 1).slice(1));
    expect(engine.openSessions).toBe(0);
  });

  test("ends with its socket, also where it waits for credit", async () => {
    const { socket, got, send, until } = await start();
    send(OPEN);
    await until(() => got.length === 1);
    send(run(1));
    await until(() => blocks(got).length === 1);
    socket.terminate();
    await until(() => engine.openSessions === 0);
  });
});

describe("what steers no run ends the session with bad_frame", () => {
  test.each<[string, readonly ClientMessage[]]>([
    ["credit before open", [credit(1)]],
    ["a pause before open", [PAUSE]],
    ["a run before open", [run(1)]],
  ])("%s", async (_, messages) => {
    const { send, until, last } = await start();
    send(...messages);
    await until(() => last()?.type === "failed");
    expect(last()).toMatchObject({ code: "bad_frame" });
  });

  test.each<[string, readonly ClientMessage[]]>([
    ["credit without a run", [credit(1)]],
    ["a pause without a run", [PAUSE]],
    ["a second run", [run(0), run(0)]],
    ["a step during a run", [run(0), { type: "step", index: 0, draft: EMPTY_TREE }]],
    ["more credit than any run may have", [run(1_000), credit(1_000)]],
  ])("%s", async (_, messages) => {
    const { got, send, until, last } = await start({}, { stepMs: 20 });
    send(OPEN);
    await until(() => got.length === 1);
    send(...messages);
    await until(() => last()?.type === "failed");
    expect(last()).toMatchObject({ code: "bad_frame" });
    await until(() => engine.openSessions === 0);
  });
});
