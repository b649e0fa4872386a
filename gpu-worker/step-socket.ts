import type { RawData, WebSocket } from "ws";
import { decodeClient, encodeServer } from "../shared/codec.ts";
import type { StepEngine, StepSession } from "../shared/engine.ts";
import { StepError } from "../shared/errors.ts";
import type { ClientMessage, ServerMessage } from "../shared/messages.ts";
import type { Metrics } from "./metrics.ts";

export interface SocketLimits {
  /** For the first message, ms. */
  readonly openMs: number;
  /** Between a reply and the next message, ms. */
  readonly idleMs: number;
}

/** Going away: RFC 6455, section 7.4.1. */
const GOING_AWAY = 1001;

/**
 * One WebSocket, one session. It answers one message at a time and takes no other meanwhile, so neither side's
 * buffers can fill.
 */
export class StepSocket {
  readonly #socket: WebSocket;
  readonly #engine: StepEngine;
  readonly #metrics: Metrics;
  readonly #limits: SocketLimits;
  readonly #gone = new AbortController();
  #session: StepSession | null = null;
  #state: "idle" | "busy" | "ended" = "idle";
  #draining = false;
  #answered = true;
  #timer: NodeJS.Timeout | undefined;

  constructor(socket: WebSocket, engine: StepEngine, metrics: Metrics, limits: SocketLimits) {
    this.#socket = socket;
    this.#engine = engine;
    this.#metrics = metrics;
    this.#limits = limits;
    metrics.sessionStarted();
    socket.on("message", (data, isBinary) => void this.#receive(data, isBinary));
    socket.on("pong", () => {
      this.#answered = true;
    });
    // ws closes by itself what breaks the WebSocket protocol or its size limit.
    socket.on("error", () => metrics.failed("bad_frame"));
    socket.on("close", () => this.#ended());
    this.#await(limits.openMs);
  }

  /** Cuts off a peer that has not answered the ping before. */
  ping(): void {
    if (!this.#answered) {
      this.#socket.terminate();
      return;
    }
    this.#answered = false;
    this.#socket.ping();
  }

  /** Ends after the message being answered. */
  drain(): void {
    this.#draining = true;
    if (this.#state === "idle") this.#leave();
  }

  terminate(): void {
    this.#socket.terminate();
  }

  async #receive(data: RawData, isBinary: boolean): Promise<void> {
    if (this.#state === "ended") return;
    try {
      if (this.#state === "busy") throw new StepError("bad_frame", "A message before the reply to the last.");
      this.#state = "busy";
      clearTimeout(this.#timer);
      if (!isBinary || !(data instanceof Uint8Array)) throw new StepError("bad_frame", "Messages are binary frames.");
      const reply = await this.#answer(decodeClient(data));
      this.#send(reply);
      this.#idle();
    } catch (error) {
      this.#fail(error);
    }
  }

  async #answer(message: ClientMessage): Promise<ServerMessage> {
    const { signal } = this.#gone;
    if (message.type === "open") {
      if (this.#session !== null) throw new StepError("bad_frame", "The session is already open.");
      this.#session = await this.#engine.open(message.spec, signal);
      const { bundle, cachedTokens, opened } = this.#session;
      this.#metrics.opened(message.spec.prompt.length, opened);
      return { type: "opened", bundle, cachedTokens, result: opened };
    }
    if (this.#session === null) throw new StepError("bad_frame", "The session is not open yet.");
    const { index, draft } = message;
    const result = await this.#session.step(index, draft, signal);
    this.#metrics.stepped(draft, result);
    return { type: "stepped", index, result };
  }

  #send(message: ServerMessage): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(encodeServer(message));
  }

  #idle(): void {
    if (this.#gone.signal.aborted) this.#session?.close();
    if (this.#state !== "busy") return;
    this.#state = "idle";
    if (this.#draining) this.#leave();
    else this.#await(this.#limits.idleMs);
  }

  #await(ms: number): void {
    this.#timer = setTimeout(() => this.#fail(new StepError("timeout", "No message for too long.")), ms);
  }

  #leave(): void {
    this.#state = "ended";
    clearTimeout(this.#timer);
    this.#session?.close();
    this.#socket.close(GOING_AWAY);
  }

  #fail(error: unknown): void {
    if (this.#state === "ended") {
      // The peer left meanwhile; the engine has cleaned up after itself.
      return;
    }
    this.#state = "ended";
    clearTimeout(this.#timer);
    if (!(error instanceof StepError)) console.error(error);
    const known = error instanceof StepError ? error : new StepError("internal", "The engine failed unexpectedly.");
    const { code, message, param, retryAfterS } = known;
    this.#metrics.failed(code);
    this.#send({ type: "failed", code, message, param, retryAfterS });
    this.#socket.close(1000, code);
    this.#gone.abort();
    this.#session?.close();
  }

  #ended(): void {
    this.#state = "ended";
    clearTimeout(this.#timer);
    this.#gone.abort();
    this.#session?.close();
    this.#metrics.sessionEnded();
  }
}
