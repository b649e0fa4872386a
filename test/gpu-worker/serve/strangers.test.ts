import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, test, vi } from "vitest";
import { RefusalLog } from "../../../gpu-worker/serve/refusals.ts";
import { type GpuServer, type ServerOptions, startServer } from "../../../gpu-worker/serve/server.ts";
import { openSocket } from "../../contract/ws-client.ts";
import { DRAFTING } from "../../fakes/drafting.ts";
import { createFakeEngine } from "../../fakes/fake-engine.ts";

/** Peers without the key, that hold on to whatever they get. */

const KEY = "a key for these tests";
const UPGRADE = "GET /v1/step HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
const HALF_A_HEAD = "GET /healthz HTTP/1.1\r\nhost: a\r\nx-more: ";
const NO_BODY = "POST /v1/bundle HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n";

let server: GpuServer;
const peers: Socket[] = [];
afterEach(async () => {
  for (const peer of peers.splice(0)) peer.destroy();
  await server.close(0);
});

async function start(options: Partial<ServerOptions> = {}): Promise<void> {
  server = await startServer({ host: "127.0.0.1", port: 0, key: KEY, ...options });
  server.serve(createFakeEngine(), DRAFTING);
}

/** A connection that sends `head` and stays, also when the server has ended its own side. */
async function stay(head: string): Promise<Socket> {
  const peer = connect({ port: Number(new URL(server.url).port), host: "127.0.0.1", allowHalfOpen: true });
  peers.push(peer);
  // A reset is what is waited for.
  peer.on("error", () => undefined);
  await once(peer, "connect");
  peer.write(head);
  return peer;
}

/** The server has closed its descriptor, not only ended its side: what the peer then writes is answered by a reset. */
async function letGo(peer: Socket): Promise<void> {
  if (peer.closed) return;
  let prodding: NodeJS.Timeout | undefined;
  const prod = () => {
    prodding = setInterval(() => peer.write("x"), 10);
  };
  if (peer.readableEnded) prod();
  else peer.once("end", prod).resume();
  await new Promise((closed) => peer.once("close", closed));
  clearInterval(prodding);
}

const health = async () => (await fetch(`${server.url}/healthz`)).status;

test.each([
  ["a refused upgrade", UPGRADE],
  ["half a head", HALF_A_HEAD],
  ["a body that does not come", NO_BODY],
  ["nothing", ""],
])("closing the server does not wait for a peer that holds %s", async (_, head) => {
  await start({ pendingMs: 3_600_000 });
  const peer = await stay(head);
  // By now the server has dealt with what the peer sent before.
  expect(await health()).toBe(200);
  await server.close(3_600_000);
  await letGo(peer);
});

test("a refused upgrade is let go though its peer does not close", async () => {
  await start({ pendingMs: 3_600_000 });
  await letGo(await stay(UPGRADE));
});

test("a request with a body is answered and let go before the body comes", async () => {
  await start({ pendingMs: 3_600_000 });
  const peer = await stay(NO_BODY);
  expect(String((await once(peer, "data"))[0])).toMatch(/^HTTP\/1\.1 405 .*connection: close/is);
  await letGo(peer);
});

test.each([
  ["half a head", HALF_A_HEAD],
  ["nothing", ""],
])("a peer that sends %s and no more has its time", async (_, head) => {
  const lines: string[] = [];
  await start({ pendingMs: 50, log: (line) => lines.push(line) });
  await letGo(await stay(head));
  expect(lines).toEqual(["refused 127.0.0.1: not done with one request in 0.05 s"]);
});

test("a peer that does not read its answers has its time too", async () => {
  await start({ pendingMs: 50 });
  const peer = await stay("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000));
  peer.pause();
  await letGo(peer);
});

test("of more peers than may wait the oldest go, and health checks and callers with the key are served", async () => {
  await start({ maxPending: 10, pendingMs: 3_600_000 });
  const heads = [HALF_A_HEAD, "", "GET /v1/step HTTP/1.1\r\nupgrade: "];
  for (let i = 0; i < 50; i++) await stay(heads[i % heads.length]!);
  expect(await health()).toBe(200);
  await Promise.all(peers.slice(0, 40).map(letGo));
  const socket = await openSocket(server.url, KEY);
  for (let i = 0; i < 50; i++) await stay(HALF_A_HEAD);
  socket.ping();
  await once(socket, "pong");
  expect(await health()).toBe(200);
  socket.terminate();
});

describe("whoever is refused is told why, and so is the log, without the key", () => {
  const refused = async (lines: string[], head: string) => {
    const answer = await text(await stay(head));
    const [, status, body] = /^HTTP\/1\.1 (\d+) .*?\r\n\r\n(.*)$/s.exec(answer) ?? [];
    expect(answer).toMatch(/content-type: application\/json/);
    return { status: Number(status), body: JSON.parse(body ?? ""), line: lines.at(-1) };
  };
  const upgrade = (path: string, headers: string) =>
    UPGRADE.replace("/v1/step", path).replace("host: a", `host: a\r\n${headers}`);

  test.each([
    ["a wrong key", upgrade("/v1/step", "authorization: Bearer a guessed key"), 401, "wrong key"],
    ["a browser", upgrade("/v1/step", "origin: http://a"), 403, "sent by a browser's page"],
    ["another path", upgrade("/v2", `authorization: Bearer ${KEY}`), 404, "no such path"],
    ["too many", upgrade("/v1/step", `authorization: Bearer ${KEY}`), 503, "all 0 sockets are taken"],
  ])("%s", async (_, head, status, error) => {
    const lines: string[] = [];
    await start({ maxSockets: 0, log: (line) => lines.push(line) });
    const line = `refused 127.0.0.1: upgrade answered ${status}, ${error}`;
    expect(await refused(lines, head)).toEqual({ status, body: { error }, line });
  });

  test("while it loads", async () => {
    const lines: string[] = [];
    server = await startServer({ host: "127.0.0.1", port: 0, key: KEY, log: (line) => lines.push(line) });
    const head = upgrade("/v1/step", `authorization: Bearer ${KEY}`);
    const line = "refused 127.0.0.1: upgrade answered 503, loading";
    expect(await refused(lines, head)).toEqual({ status: 503, body: { error: "loading" }, line });
  });

  test("a wrong key over HTTP", async () => {
    const lines: string[] = [];
    await start({ log: (line) => lines.push(line) });
    expect((await fetch(`${server.url}/v1/bundle`)).status).toBe(401);
    expect(lines).toEqual(["refused 127.0.0.1: wrong key"]);
  });
});

test("the log says a reason once and then counts, a line a minute", async () => {
  vi.useFakeTimers();
  try {
    const lines: string[] = [];
    const log = new RefusalLog((line) => lines.push(line));
    for (let i = 0; i < 1000; i++) log.note("wrong key", "a");
    log.note("too many", undefined);
    expect(lines).toEqual(["refused a: wrong key", "refused a peer: too many"]);
    vi.advanceTimersByTime(60_000);
    expect(lines.splice(0, 2)).toHaveLength(2);
    expect(lines.splice(0)).toEqual(["refused 999 more: wrong key"]);
    log.note("wrong key", "b");
    vi.advanceTimersByTime(120_000);
    expect(lines.splice(0)).toEqual(["refused 1 more: wrong key"]);
    log.note("wrong key", "c");
    log.note("wrong key", "c");
    log.close();
    expect(lines).toEqual(["refused c: wrong key", "refused 1 more: wrong key"]);
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});
