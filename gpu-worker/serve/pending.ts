import type { Duplex } from "node:stream";

export interface PendingLimits {
  /** Connections at once that have not shown the key. */
  readonly maxPending: number;
  /** How long one may stay without showing it, ms. */
  readonly pendingMs: number;
}

interface Pending {
  readonly timer: NodeJS.Timeout;
  answering: boolean;
}

/**
 * The connections that have not shown the key. Each has the time of one request, whatever it sends or leaves unread,
 * and where there are too many the oldest goes: a newcomer with something to ask, a health check say, is always heard.
 */
export class PendingConnections {
  readonly #limits: PendingLimits;
  readonly #onCut: (reason: string, socket: Duplex) => void;
  /** Oldest first. */
  readonly #pending = new Map<Duplex, Pending>();

  /** @param onCut told of every connection that is ended for its time or its number, while its address is known */
  constructor(limits: PendingLimits, onCut: (reason: string, socket: Duplex) => void) {
    this.#limits = limits;
    this.#onCut = onCut;
  }

  add(socket: Duplex): void {
    const { maxPending, pendingMs } = this.#limits;
    const [oldest] = this.#pending.keys();
    if (oldest !== undefined && this.#pending.size >= maxPending) {
      this.#cut(oldest, "the oldest of too many connections without a key");
    }
    const timer = setTimeout(() => this.#cut(socket, `not done with one request in ${pendingMs / 1000} s`), pendingMs);
    this.#pending.set(socket, { timer, answering: false });
    socket.once("close", () => this.release(socket));
  }

  /** From here on somebody else bounds the connection. */
  release(socket: Duplex): void {
    clearTimeout(this.#pending.get(socket)?.timer);
    this.#pending.delete(socket);
  }

  /** Its request is whole; the connection ends with the answer. */
  answering(socket: Duplex): void {
    const pending = this.#pending.get(socket);
    if (pending !== undefined) pending.answering = true;
  }

  /** Ends those that have asked nothing yet. */
  drain(): void {
    for (const [socket, { answering }] of this.#pending) if (!answering) socket.destroy();
  }

  terminate(): void {
    for (const socket of this.#pending.keys()) socket.destroy();
  }

  #cut(socket: Duplex, reason: string): void {
    this.#onCut(reason, socket);
    this.release(socket);
    socket.destroy();
  }
}
