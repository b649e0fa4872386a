import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { WebSocket } from "ws";
import { type GpuServer, type ServerOptions, startServer } from "../../../gpu-worker/serve/server.ts";
import { decodeServer, encodeClient } from "../../../shared/codec.ts";
import { EMPTY_TREE } from "../../../shared/draft-tree.ts";
import { IDLE, type OpenSpec, type StepEngine } from "../../../shared/engine.ts";
import { LIMITS } from "../../../shared/limits.ts";
import { type FailedMessage, PROTOCOL_VERSION } from "../../../shared/messages.ts";
import { ask, openSocket } from "../../contract/ws-client.ts";
import { DRAFTING } from "../../fakes/drafting.ts";
import { createFakeEngine, type FakeEngine, type FakeOptions } from "../../fakes/fake-engine.ts";
import { PLAIN } from "../../helpers/session.ts";
import { metric } from "../metric.ts";

const KEY = "a key for these tests";
const SPEC: OpenSpec = { ...PLAIN, model: "fake", prompt: Uint32Array.of(1, 2, 3), heads: 2, topK: 4 };
const OPEN = { type: "open", version: PROTOCOL_VERSION, spec: SPEC } as const;
const STEP = { type: "step", index: 0, draft: EMPTY_TREE } as const;
const never = new AbortController().signal;

let server: GpuServer;
let engine: FakeEngine;
afterEach(() => server.close(0));

async function start(options: Partial<ServerOptions> = {}, fake: FakeOptions = {}): Promise<void> {
  server = await startServer({ host: "127.0.0.1", port: 0, key: KEY, ...options });
  engine = createFakeEngine(fake);
  server.serve(engine, DRAFTING);
}

const get = (path: string, init: RequestInit = {}) => fetch(server.url + path, init);
const withKey = { headers: { authorization: `Bearer ${KEY}` } };

/** The message and the close that follow. */
async function failure(socket: WebSocket): Promise<FailedMessage> {
  const messages: Uint8Array[] = [];
  socket.on("message", (data: Uint8Array) => messages.push(data));
  await once(socket, "close");
  const message = decodeServer(messages.at(-1)!);
  if (message.type !== "failed") throw new Error(`${message.type} in place of failed`);
  return message;
}

describe("over HTTP", () => {
  test("it is alive at once, and ready when there is an engine", async () => {
    server = await startServer({ host: "127.0.0.1", port: 0, key: KEY });
    expect((await get("/healthz")).status).toBe(200);
    expect((await get("/readyz")).status).toBe(503);
    expect((await get("/v1/bundle", withKey)).status).toBe(503);
    await expect(openSocket(server.url, KEY)).rejects.toThrow("503");
    server.serve(createFakeEngine(), DRAFTING);
    expect((await get("/readyz")).status).toBe(200);
  });

  test("the bundle is told to those with the key", async () => {
    await start();
    expect(await (await get("/v1/bundle", withKey)).json()).toEqual(engine.bundle);
    for (const authorization of ["", "Bearer", "Bearer ", `Bearer ${KEY}x`, KEY, `Basic ${KEY}`]) {
      expect((await get("/v1/bundle", { headers: { authorization } })).status).toBe(401);
    }
  });

  test("other paths and methods are refused", async () => {
    await start();
    expect((await get("/")).status).toBe(404);
    expect((await get("/v1/bundle/", withKey)).status).toBe(404);
    expect((await get("/healthz", { method: "POST" })).status).toBe(405);
    expect((await get("/v1/step", withKey)).status).toBe(426);
  });

  test("an address in use is an error, and nothing is left running", async () => {
    await start();
    const port = Number(new URL(server.url).port);
    await expect(startServer({ host: "127.0.0.1", port, key: KEY })).rejects.toThrow("EADDRINUSE");
  });
});

describe("the upgrade is refused", () => {
  test("with a wrong key", async () => {
    await start();
    await expect(openSocket(server.url, "a key for other tests")).rejects.toThrow("401");
    await expect(openSocket(server.url, "")).rejects.toThrow("401");
  });

  test("to a browser's page", async () => {
    await start();
    await expect(openSocket(server.url, KEY, { origin: "https://example.com" })).rejects.toThrow("403");
  });

  test("elsewhere than at /v1/step", async () => {
    await start();
    await expect(openSocket(`${server.url}/v2`, KEY)).rejects.toThrow("404");
  });

  test("beyond the number of sockets allowed", async () => {
    await start({ maxSockets: 1 });
    const first = await openSocket(server.url, KEY);
    await expect(openSocket(server.url, KEY)).rejects.toThrow("503");
    first.terminate();
    await vi.waitFor(async () => (await openSocket(server.url, KEY)).terminate());
  });

  test("and a connection reset right then harms nobody", async () => {
    await start();
    for (let i = 0; i < 10; i++) {
      const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
      socket.on("error", () => undefined);
      socket.write("GET /v1/step HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
      socket.resetAndDestroy();
    }
    expect((await get("/healthz")).status).toBe(200);
  });
});

describe("what breaks the protocol ends the session with bad_frame", () => {
  test.each<[string, (socket: WebSocket) => void]>([
    ["text", (socket) => socket.send("hello")],
    ["bytes that are no message", (socket) => socket.send(Uint8Array.of(1, 2, 3))],
    ["an empty message", (socket) => socket.send(new Uint8Array(0))],
    ["a step before open", (socket) => socket.send(encodeClient(STEP))],
    ["a second message before the reply", (socket) => [OPEN, STEP].forEach((m) => void socket.send(encodeClient(m)))],
  ])("%s", async (_, send) => {
    await start({}, { stepMs: 5 });
    const socket = await openSocket(server.url, KEY);
    send(socket);
    expect(await failure(socket)).toMatchObject({ code: "bad_frame" });
    await vi.waitFor(() => expect(engine.openSessions).toBe(0));
  });

  test("a second open", async () => {
    await start();
    const socket = await openSocket(server.url, KEY);
    await ask(socket, OPEN, never);
    await expect(ask(socket, OPEN, never)).rejects.toMatchObject({ code: "bad_frame" });
    await vi.waitFor(() => expect(engine.openSessions).toBe(0));
  });

  test("a message over the size limit closes the socket", async () => {
    await start();
    const socket = await openSocket(server.url, KEY);
    socket.send(new Uint8Array(LIMITS.frameBytes + 1));
    expect((await once(socket, "close"))[0]).toBe(1009);
  });
});

test("another protocol version is told so", async () => {
  await start();
  const socket = await openSocket(server.url, KEY);
  socket.send(encodeClient({ ...OPEN, version: PROTOCOL_VERSION + 1 }));
  expect(await failure(socket)).toMatchObject({ code: "protocol_mismatch" });
});

test("the engine's errors reach the caller with their field", async () => {
  await start();
  const socket = await openSocket(server.url, KEY);
  socket.send(encodeClient({ ...OPEN, spec: { ...SPEC, model: "other" } }));
  expect(await failure(socket)).toMatchObject({ code: "model_not_found", param: "model", retryAfterS: null });
});

test("whoever finds the engine busy is told when to come again", async () => {
  await start({}, { maxSessions: 0 });
  const socket = await openSocket(server.url, KEY);
  socket.send(encodeClient(OPEN));
  expect(await failure(socket)).toMatchObject({ code: "overloaded", retryAfterS: 1 });
});

test("a step that was answered is not answered again", async () => {
  await start();
  const socket = await openSocket(server.url, KEY);
  await ask(socket, OPEN, never);
  await ask(socket, STEP, never);
  socket.send(encodeClient(STEP));
  expect(await failure(socket)).toMatchObject({ code: "bad_frame" });
  await vi.waitFor(() => expect(engine.openSessions).toBe(0));
});

test("an error that nobody foresaw is internal and keeps its words to itself", async () => {
  const complaints = vi.spyOn(console, "error").mockImplementation(() => undefined);
  server = await startServer({ host: "127.0.0.1", port: 0, key: KEY });
  const broken: StepEngine = {
    open: async () => {
      throw new TypeError("an inner secret");
    },
  };
  server.serve({ ...broken, bundle: createFakeEngine().bundle, load: IDLE }, DRAFTING);
  const socket = await openSocket(server.url, KEY);
  socket.send(encodeClient(OPEN));
  const failed = await failure(socket);
  expect(failed.code).toBe("internal");
  expect(failed.message).not.toContain("secret");
  expect(complaints).toHaveBeenCalledOnce();
  complaints.mockRestore();
});

describe("a session ends", () => {
  test("when the socket closes while a step runs", async () => {
    await start({}, { stepMs: 10_000 });
    const socket = await openSocket(server.url, KEY);
    socket.send(encodeClient(OPEN));
    await vi.waitFor(() => expect(engine.openSessions).toBe(1));
    socket.close();
    await vi.waitFor(() => expect(engine.openSessions).toBe(0));
    await vi.waitFor(async () => expect(await metric(server.url, "foredraft_sessions_open")).toBe(0));
  });

  test("when nothing is asked for too long", async () => {
    await start({ idleMs: 30 });
    const socket = await openSocket(server.url, KEY);
    const failed = failure(socket);
    await ask(socket, OPEN, never);
    expect(await failed).toMatchObject({ code: "timeout" });
    expect(engine.openSessions).toBe(0);
  });

  test("when open does not come", async () => {
    await start({ openMs: 30 });
    expect(await failure(await openSocket(server.url, KEY))).toMatchObject({ code: "timeout" });
  });

  test("when the peer no longer answers pings", async () => {
    await start({ pingMs: 20 });
    const socket = await openSocket(server.url, KEY);
    await ask(socket, OPEN, never);
    socket.pause();
    await vi.waitFor(() => expect(engine.openSessions).toBe(0), { timeout: 5_000 });
    socket.terminate();
  });

  test("and not while pings are answered", async () => {
    await start({ pingMs: 10 });
    const socket = await openSocket(server.url, KEY);
    await ask(socket, OPEN, never);
    for (let pings = 0; pings < 5; pings++) await once(socket, "ping");
    await ask(socket, STEP, never);
    expect(engine.openSessions).toBe(1);
  });
});

describe("closing the server", () => {
  test("lets a running step end, then closes its socket as going away", async () => {
    await start({}, { stepMs: 80 });
    const [busy, idle] = [await openSocket(server.url, KEY), await openSocket(server.url, KEY)];
    const reply = ask(busy, OPEN, never);
    await vi.waitFor(() => expect(engine.openSessions).toBe(1));
    const closes = Promise.all([once(busy, "close"), once(idle, "close")]);
    await server.close(10_000);
    expect((await reply).type).toBe("opened");
    expect((await closes).map(([code]) => code)).toEqual([1001, 1001]);
    expect(engine.openSessions).toBe(0);
  });

  test("cuts off a step that takes longer than the grace", async () => {
    await start({}, { stepMs: 60_000 });
    const socket = await openSocket(server.url, KEY);
    const reply = expect(ask(socket, OPEN, never)).rejects.toMatchObject({ code: "client_closed" });
    await vi.waitFor(() => expect(engine.openSessions).toBe(1));
    await server.close(20);
    await reply;
    await vi.waitFor(() => expect(engine.openSessions).toBe(0));
  });

  test("takes no more", async () => {
    await start();
    const { url } = server;
    await server.close(100);
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
  });
});
