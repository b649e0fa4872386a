import { decodeServer, encodeClient } from "../shared/codec.ts";
import type { DraftTree } from "../shared/draft-tree.ts";
import type { BundleInfo, CancelSignal, OpenSpec, StepEngine, StepResult, StepSession } from "../shared/engine.ts";
import { StepError } from "../shared/errors.ts";
import { type ClientMessage, type OpenedMessage, PROTOCOL_VERSION, type ServerMessage } from "../shared/messages.ts";

/** What is needed of a WebSocket whose handshake is done; workerd's and the `ws` package's both fit. */
export interface StepSocket {
  send(data: Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: "message", listener: (event: { readonly data?: unknown }) => void): void;
  addEventListener(type: "close" | "error", listener: () => void): void;
}

/**
 * Connects to the gpu-worker's /v1/step; an abort gives that up. Its socket delivers binary messages as ArrayBuffer.
 * Rejects with StepError "engine_unavailable" where nothing answers.
 */
export type Connect = (signal: CancelSignal) => Promise<StepSocket>;

export interface Deadlines {
  readonly connectMs: number;
  /** The prefill, waiting in the queue included. */
  readonly openMs: number;
  readonly stepMs: number;
}

export const DEADLINES: Deadlines = { connectMs: 5_000, openMs: 120_000, stepMs: 60_000 };

const UNAVAILABLE = "The model engine is not available.";

/**
 * A StepEngine over one WebSocket per session, which in workerd belongs to one request. A session whose
 * socket is lost is lost: the gpu-worker drops it too, so nothing is retried here.
 */
export function createGpuClient(connect: Connect, deadlines: Deadlines = DEADLINES): StepEngine {
  return {
    async open(spec: OpenSpec, signal: CancelSignal): Promise<StepSession> {
      if (signal.aborted) throw cancelled();
      const socket = await deadline(connect(signal), deadlines.connectMs, (late) => late.close(1000, "too late"));
      const link = new Link(socket);
      const message: ClientMessage = { type: "open", version: PROTOCOL_VERSION, spec };
      const opened = await link.ask(message, deadlines.openMs, signal);
      if (opened.type !== "opened") throw link.fail(unexpected());
      return new GpuSession(link, opened, deadlines.stepMs);
    },
  };
}

class GpuSession implements StepSession {
  readonly bundle: BundleInfo;
  readonly cachedTokens: number;
  readonly opened: StepResult;
  readonly #link: Link;
  readonly #stepMs: number;

  constructor(link: Link, opened: OpenedMessage, stepMs: number) {
    this.bundle = opened.bundle;
    this.cachedTokens = opened.cachedTokens;
    this.opened = opened.result;
    this.#link = link;
    this.#stepMs = stepMs;
  }

  async step(index: number, draft: DraftTree, signal: CancelSignal): Promise<StepResult> {
    const reply = await this.#link.ask({ type: "step", index, draft }, this.#stepMs, signal);
    if (reply.type !== "stepped" || reply.index !== index) throw this.#link.fail(unexpected());
    return reply.result;
  }

  close(): void {
    this.#link.fail(cancelled());
  }
}

interface Waiting {
  readonly resolve: (message: OpenedMessage | Extract<ServerMessage, { type: "stepped" }>) => void;
  readonly reject: (error: StepError) => void;
}

/** One request in flight at a time. The first failure closes the socket and answers all later requests. */
class Link {
  readonly #socket: StepSocket;
  #waiting: Waiting | null = null;
  #failure: StepError | null = null;

  constructor(socket: StepSocket) {
    this.#socket = socket;
    socket.addEventListener("message", (event) => this.#receive(event.data));
    socket.addEventListener("close", () => this.fail(new StepError("engine_unavailable", UNAVAILABLE)));
    socket.addEventListener("error", () => this.fail(new StepError("engine_unavailable", UNAVAILABLE)));
  }

  /** Sends and waits for the reply. Closing the socket is what cancels the work on the other side. */
  ask(message: ClientMessage, ms: number, signal: CancelSignal) {
    return new Promise<Parameters<Waiting["resolve"]>[0]>((resolve, reject) => {
      if (signal.aborted) this.fail(cancelled());
      if (this.#failure !== null) {
        reject(this.#failure);
        return;
      }
      const onAbort = () => this.fail(cancelled());
      const timer = setTimeout(() => this.fail(new StepError("timeout", "The model engine took too long.")), ms);
      const settled = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
        this.#waiting = null;
      };
      this.#waiting = {
        resolve: (reply) => {
          settled();
          resolve(reply);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      };
      signal.addEventListener("abort", onAbort);
      try {
        this.#socket.send(new Uint8Array(encodeClient(message)));
      } catch {
        this.fail(new StepError("engine_unavailable", UNAVAILABLE));
      }
    });
  }

  /** Ends the link; only the first reason counts, and it is returned. */
  fail(error: StepError): StepError {
    if (this.#failure !== null) return this.#failure;
    this.#failure = error;
    this.#socket.close(1000, error.code);
    this.#waiting?.reject(error);
    return error;
  }

  #receive(data: unknown): void {
    try {
      if (!(data instanceof ArrayBuffer)) throw unexpected();
      const message = decodeServer(new Uint8Array(data));
      if (message.type === "failed") {
        throw new StepError(message.code, message.message, message.param, message.retryAfterS);
      }
      if (this.#waiting === null) throw unexpected();
      this.#waiting.resolve(message);
    } catch (error) {
      this.fail(error instanceof StepError ? error : unexpected());
    }
  }
}

function cancelled(): StepError {
  return new StepError("client_closed", "The request was cancelled.");
}

function unexpected(): StepError {
  return new StepError("bad_frame", "The model engine sent an unexpected message.");
}

async function deadline<T>(promise: Promise<T>, ms: number, discard: (late: T) => void): Promise<T> {
  const { promise: expired, reject } = Promise.withResolvers<never>();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    reject(new StepError("engine_unavailable", UNAVAILABLE));
  }, ms);
  promise.then(
    (value) => {
      if (late) discard(value);
    },
    () => {},
  );
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}
