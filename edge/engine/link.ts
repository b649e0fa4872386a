import { decodeServer, encodeClient } from "../../shared/codec.ts";
import type { CancelSignal } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import type { ClientMessage, ServerMessage } from "../../shared/messages.ts";

/** What is needed of a WebSocket whose handshake is done; workerd's and the `ws` package's both fit. */
export interface ClientSocket {
  send(data: Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: "message", listener: (event: { readonly data?: unknown }) => void): void;
  addEventListener(type: "close" | "error", listener: () => void): void;
}

export const UNAVAILABLE = "The model engine is not available.";
const LOST = "The model engine was lost.";

interface Waiting {
  readonly resolve: (message: Reply) => void;
  readonly reject: (error: StepError) => void;
}

type Reply = Exclude<ServerMessage, { type: "failed" | "alive" }>;

/** Messages of one socket, read one at a time. The first failure closes the socket and answers all later requests. */
export class Link {
  readonly #socket: ClientSocket;
  /** Messages that nobody has read yet. */
  readonly #inbox: Reply[] = [];
  /** Whether messages may come that nobody waits for. */
  unasked = false;
  /** Whether the session has begun. */
  opened = false;
  readonly #silenceMs: number;
  #waiting: Waiting | null = null;
  #silence: ReturnType<typeof setTimeout> | null = null;
  #failure: StepError | null = null;

  constructor(socket: ClientSocket, silenceMs: number) {
    this.#socket = socket;
    this.#silenceMs = silenceMs;
    socket.addEventListener("message", (event) => this.#receive(event.data));
    socket.addEventListener("close", () => this.fail(this.#gone()));
    socket.addEventListener("error", () => this.fail(this.#gone()));
  }

  /** Where it cannot be sent, the next `receive` says so. */
  send(message: ClientMessage): void {
    if (this.#failure !== null) return;
    try {
      this.#socket.send(new Uint8Array(encodeClient(message)));
    } catch {
      this.fail(this.#gone());
    }
  }

  /** Whether the next message is yet to come. */
  get waits(): boolean {
    return this.#inbox.length === 0;
  }

  /**
   * The next message; what came before a failure can be read after it. Closing the socket is what cancels the work on the
   * other side.
   */
  receive(ms: number, signal: CancelSignal): Promise<Reply> {
    if (signal.aborted) this.fail(cancelled());
    const known = this.#inbox.shift();
    if (known !== undefined) return Promise.resolve(known);
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    const onAbort = () => this.fail(cancelled());
    const timer = setTimeout(() => this.fail(new StepError("timeout", "The model engine took too long.")), ms);
    signal.addEventListener("abort", onAbort);
    this.#waiting = { resolve, reject };
    this.#listen();
    return promise.finally(() => {
      clearTimeout(timer);
      if (this.#silence !== null) clearTimeout(this.#silence);
      signal.removeEventListener("abort", onAbort);
    });
  }

  /** Gives up where nothing is heard. */
  #listen(): void {
    if (this.#silence !== null) clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.fail(this.#gone()), this.#silenceMs);
  }

  /** Never there, or lost in the middle: another engine may go on from what was committed. */
  #gone(): StepError {
    return this.opened ? new StepError("engine_lost", LOST) : new StepError("engine_unavailable", UNAVAILABLE);
  }

  /** Ends the link; only the first reason counts, and it is returned. */
  fail(error: StepError): StepError {
    if (this.#failure !== null) return this.#failure;
    this.#failure = error;
    if (error.code === "client_closed") this.#inbox.length = 0;
    this.#socket.close(1000, error.code);
    this.#waiting?.reject(error);
    this.#waiting = null;
    return error;
  }

  #receive(data: unknown): void {
    if (this.#failure !== null) return;
    try {
      if (!(data instanceof ArrayBuffer)) throw unexpected();
      const message = decodeServer(new Uint8Array(data));
      if (message.type === "failed") {
        throw new StepError(message.code, message.message, message.param, message.retryAfterS);
      }
      if (message.type === "alive") {
        if (this.#waiting !== null) this.#listen();
        return;
      }
      const { resolve } = this.#waiting ?? {};
      if (resolve === undefined && !this.unasked) throw unexpected();
      this.#waiting = null;
      if (resolve === undefined) this.#inbox.push(message);
      else resolve(message);
    } catch (error) {
      this.fail(error instanceof StepError ? error : unexpected());
    }
  }
}

export function cancelled(): StepError {
  return new StepError("client_closed", "The request was cancelled.");
}

export function unexpected(): StepError {
  return new StepError("bad_frame", "The model engine sent an unexpected message.");
}
