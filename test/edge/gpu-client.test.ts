import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { type Connect, createGpuClient, DEADLINES, type Deadlines } from "../../edge/engine/gpu-client.ts";
import { decodeClient, encodeServer } from "../../shared/codec.ts";
import { chain } from "../../shared/draft-tree.ts";
import type { OpenSpec, StepResult } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { createLattice } from "../../shared/lattice.ts";
import { type ClientMessage, PROTOCOL_VERSION, type ServerMessage } from "../../shared/messages.ts";
import { NO_RUNNERS_UP } from "../../shared/runners-up.ts";
import { INFO } from "./fixture.ts";

const SPEC: OpenSpec = {
  model: "toy",
  prompt: Uint32Array.of(1, 2, 3),
  heads: 1,
  topK: 1,
  sampling: { temperature: 0, topP: 1, seed: 0 },
  logProbs: null,
  neural: null,
  runnersUp: 0,
  pair: false,
  fixed: false,
  tenant: "ann",
};
const RESULT: StepResult = {
  accepted: [],
  bonus: 4,
  lattice: createLattice(1, 1, Uint32Array.of(5), Float32Array.of(-0.5)),
  logProbs: null,
  runnersUp: NO_RUNNERS_UP,
  threshold: 40,
  timing: { queueMs: 1, modelMs: 2, engineMs: 3 },
  load: { running: 2, waiting: 1, kvUsed: 0.2, passMs: 8 },
};
const OPENED: ServerMessage = { type: "opened", bundle: INFO, cachedTokens: 2, result: RESULT };

type Answer = (message: ClientMessage, socket: WebSocket) => ServerMessage | Uint8Array | null;

const servers: WebSocketServer[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    for (const client of server.clients) client.terminate();
    server.close();
  }
});

/** A gpu-worker that answers as told; `closes` counts the sockets it has seen closing. */
async function serve(answer: Answer): Promise<{ connect: Connect; closes: () => number; received: ClientMessage[] }> {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  servers.push(server);
  await new Promise((resolve) => server.once("listening", resolve));
  let closes = 0;
  const received: ClientMessage[] = [];
  server.on("connection", (socket) => {
    socket.on("close", () => closes++);
    socket.on("message", (data: Buffer) => {
      const message = decodeClient(new Uint8Array(data));
      received.push(message);
      const reply = answer(message, socket);
      if (reply !== null) socket.send(reply instanceof Uint8Array ? reply : encodeServer(reply));
    });
  });
  return { connect: connectTo((server.address() as AddressInfo).port), closes: () => closes, received };
}

function connectTo(port: number): Connect {
  return () =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/step`);
      socket.binaryType = "arraybuffer";
      socket.once("open", () => resolve(socket));
      socket.once("error", () => reject(new StepError("engine_unavailable", "down")));
    });
}

const still = () => new AbortController().signal;
const until = async (done: () => boolean) => {
  while (!done()) await new Promise((resolve) => setImmediate(resolve));
};
const openOnly: Answer = (message) => (message.type === "open" ? OPENED : null);

describe("the gpu-worker's client", () => {
  test("opens a session, steps through it and closes its socket", async () => {
    const { connect, closes, received } = await serve((message) =>
      message.type === "step"
        ? { type: "stepped", index: message.index, result: { ...RESULT, accepted: [0] } }
        : OPENED,
    );
    const session = await createGpuClient(connect).open(SPEC, still());
    expect(session.bundle).toEqual(INFO);
    expect(session.cachedTokens).toBe(2);
    expect(session.opened).toEqual(RESULT);
    const draft = chain([5, 6], Uint8Array.of(200, 100));
    const { accepted, lattice, threshold, load } = await session.step(0, draft, still());
    expect(accepted).toEqual([0]);
    expect([...lattice.tokens]).toEqual([5]);
    expect({ threshold, load }).toEqual({ threshold: 40, load: RESULT.load });
    expect(received).toEqual([
      { type: "open", version: PROTOCOL_VERSION, spec: SPEC },
      { type: "step", index: 0, draft },
    ]);
    session.close();
    session.close();
    await until(() => closes() === 1);
  });

  test("passes on the gpu-worker's own refusal", async () => {
    const refusal = { code: "overloaded", message: "full", param: null, retryAfterS: 7 } as const;
    const { connect } = await serve(() => ({ type: "failed", ...refusal }));
    const error = await createGpuClient(connect)
      .open(SPEC, still())
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(StepError);
    expect(error).toMatchObject(refusal);
  });

  test("is unavailable where nothing listens", async () => {
    await expect(createGpuClient(connectTo(1)).open(SPEC, still())).rejects.toMatchObject({
      code: "engine_unavailable",
    });
  });

  test("is lost when the gpu-worker dies during a step, and stays so", async () => {
    const { connect } = await serve((message, socket) => {
      if (message.type === "open") return OPENED;
      socket.terminate();
      return null;
    });
    const session = await createGpuClient(connect).open(SPEC, still());
    await expect(session.step(0, chain([]), still())).rejects.toMatchObject({ code: "engine_lost" });
    await expect(session.step(1, chain([]), still())).rejects.toMatchObject({ code: "engine_lost" });
  });

  test.each<[string, ServerMessage | Uint8Array]>([
    ["bytes that are no message", Uint8Array.of(0xc1, 0xff)],
    ["the reply to another step", { type: "stepped", index: 7, result: RESULT }],
    ["a second opening", OPENED],
  ])("refuses %s and ends the session", async (_, reply) => {
    const { connect, closes } = await serve((message) => (message.type === "open" ? OPENED : reply));
    const session = await createGpuClient(connect).open(SPEC, still());
    await expect(session.step(0, chain([]), still())).rejects.toMatchObject({ code: "bad_frame" });
    await until(() => closes() === 1);
  });

  test("an abort closes the socket at once, before and during a step", async () => {
    const { connect, closes } = await serve(openOnly);
    const session = await createGpuClient(connect).open(SPEC, still());
    const controller = new AbortController();
    const step = session.step(0, chain([]), controller.signal);
    controller.abort();
    await expect(step).rejects.toMatchObject({ code: "client_closed" });
    await until(() => closes() === 1);
    await expect(createGpuClient(connect).open(SPEC, controller.signal)).rejects.toMatchObject({
      code: "client_closed",
    });
  });

  test("an abort while connecting gives that up", async () => {
    const controller = new AbortController();
    const connect: Connect = (signal) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(new StepError("engine_unavailable", "given up")));
      });
    const opening = createGpuClient(connect).open(SPEC, controller.signal);
    controller.abort();
    await expect(opening).rejects.toMatchObject({ message: "given up" });
  });

  test.each<[string, Partial<Deadlines>, string]>([
    ["connect", { connectMs: 0 }, "engine_unavailable"],
    ["open", { openMs: 0 }, "timeout"],
    ["step", { stepMs: 0 }, "timeout"],
  ])("gives up on a %s that takes too long", async (_, change, code) => {
    const { connect } = await serve((message) =>
      message.type === "open" && change.openMs === undefined ? OPENED : null,
    );
    const slow: Connect = change.connectMs === undefined ? connect : () => new Promise(() => {});
    const run = async () => {
      const session = await createGpuClient(slow, { ...DEADLINES, ...change }).open(SPEC, still());
      await session.step(0, chain([]), still());
    };
    await expect(run()).rejects.toMatchObject({ code });
  });
});
