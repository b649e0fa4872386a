import { once } from "node:events";
import { WebSocket } from "ws";
import { decodeServer, encodeClient } from "../../shared/codec.ts";
import type { CancelSignal, StepEngine, StepSession } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { type ClientMessage, PROTOCOL_VERSION, type ServerMessage } from "../../shared/messages.ts";

/** A StepEngine over the gpu-worker's WebSocket, one socket per session: the least that speaks the protocol. */
export function connectEngine(url: string, key: string): StepEngine {
  return {
    async open(spec, signal) {
      const socket = await openSocket(url, key);
      const opened = await ask(socket, { type: "open", version: PROTOCOL_VERSION, spec }, signal);
      if (opened.type !== "opened") throw new StepError("bad_frame", `${opened.type} in place of opened`);
      const session: StepSession = {
        bundle: opened.bundle,
        cachedTokens: opened.cachedTokens,
        opened: opened.result,
        async step(index, draft, stepSignal) {
          const stepped = await ask(socket, { type: "step", index, draft }, stepSignal);
          if (stepped.type !== "stepped" || stepped.index !== index) throw new StepError("bad_frame", "another reply");
          return stepped.result;
        },
        close: () => socket.close(),
      };
      return session;
    },
  };
}

/** Rejects where the server refuses the upgrade. */
export async function openSocket(url: string, key: string, headers: Record<string, string> = {}): Promise<WebSocket> {
  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/step`, {
    headers: { authorization: `Bearer ${key}`, ...headers },
    perMessageDeflate: false,
  });
  await once(socket, "open");
  socket.on("error", () => undefined);
  return socket;
}

/** Sends a message and resolves with the reply; closes the socket when `signal` aborts. */
export async function ask(socket: WebSocket, message: ClientMessage, signal: CancelSignal): Promise<ServerMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<ServerMessage>();
  const onMessage = (data: Uint8Array) => {
    const message = decodeServer(data);
    if (message.type !== "alive") resolve(message);
  };
  const onClose = () => reject(new StepError("client_closed", "the socket is closed"));
  const onAbort = () => socket.close();
  socket.on("message", onMessage);
  socket.on("close", onClose);
  signal.addEventListener("abort", onAbort);
  try {
    if (signal.aborted || socket.readyState !== WebSocket.OPEN) {
      socket.close();
      throw new StepError("client_closed", "the socket is closed");
    }
    socket.send(encodeClient(message));
    const reply = await promise;
    if (reply.type === "failed") {
      throw new StepError(reply.code, reply.message, reply.param, reply.retryAfterS);
    }
    return reply;
  } finally {
    socket.off("message", onMessage);
    socket.off("close", onClose);
    signal.removeEventListener("abort", onAbort);
  }
}
