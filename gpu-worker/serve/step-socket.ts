import type { RawData } from "ws";
import { decodeClient, encodeServer } from "../../shared/codec.ts";
import { StepError } from "../../shared/errors.ts";
import type { ClientMessage, RunMessage, ServerMessage } from "../../shared/messages.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";
import type { Metrics } from "./metrics.ts";
import { Run } from "./run.ts";
import type { Drafts, Served } from "./served.ts";
import { ServedSession, type SessionEvents } from "./served-session.ts";
import type { SessionTrace } from "./session-trace.ts";

/** What is needed of the `ws` package's WebSocket. */
export interface PeerSocket {
  readonly readyState: number;
  readonly OPEN: number;
  on(event: "message", listener: (data: RawData, isBinary: boolean) => void): unknown;
  on(event: "pong" | "close" | "error", listener: () => void): unknown;
  send(data: Uint8Array): void;
  ping(): void;
  close(code: number, reason?: string): void;
  terminate(): void;
}

export interface SocketLimits {
  /** For the first message, ms. */
  readonly openMs: number;
  /** Between a reply and the next message, ms. */
  readonly idleMs: number;
}

/** Messages that steer a run. */
type Steering = "credit" | "pause" | "hint";

/** How often a peer that waits is told that it is not in vain, ms. */
const ALIVE_MS = 500;
/** Going away: RFC 6455, section 7.4.1. */
const GOING_AWAY = 1001;

/**
 * One WebSocket, one session. It answers one message at a time and takes no other meanwhile but what steers a run, or
 * asks for one with the opening, so neither side's buffers can fill.
 */
export class StepSocket {
  readonly #socket: PeerSocket;
  readonly #served: { readonly engine: Served; readonly drafting: Drafts };
  readonly #metrics: Metrics;
  /** null: it is not traced. */
  readonly #trace: SessionTrace | null;
  readonly #limits: SocketLimits;
  readonly #gone = new AbortController();
  #session: ServedSession | null = null;
  /** Whether the peer has asked for a run, and the one that is being made. */
  #ran = false;
  #run: Run | null = null;
  /** Asked for while the session is being opened. */
  #early: RunMessage | null = null;
  #state: "idle" | "busy" | "ended" = "idle";
  #draining = false;
  #answered = true;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    socket: PeerSocket,
    served: { readonly engine: Served; readonly drafting: Drafts },
    metrics: Metrics,
    limits: SocketLimits,
    trace: SessionTrace | null = null,
  ) {
    this.#socket = socket;
    this.#served = served;
    this.#metrics = metrics;
    this.#limits = limits;
    this.#trace = trace;
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

  /** Ends after the message being answered, a run after the step that it makes. */
  drain(): void {
    this.#draining = true;
    this.#run?.pause();
    if (this.#state === "idle") this.#leave();
  }

  terminate(): void {
    this.#socket.terminate();
  }

  async #receive(data: RawData, isBinary: boolean): Promise<void> {
    if (this.#state === "ended") return;
    try {
      if (!isBinary || !(data instanceof Uint8Array)) throw new StepError("bad_frame", "Messages are binary frames.");
      const message = decodeClient(data);
      if (message.type === "credit" || message.type === "pause" || message.type === "hint") {
        this.#steer(message);
        return;
      }
      if (this.#state === "busy" && this.#waits(message)) return;
      if (this.#state === "busy") throw new StepError("bad_frame", "A message before the reply to the last.");
      this.#state = "busy";
      clearTimeout(this.#timer);
      const alive = setInterval(() => this.#send({ type: "alive" }), ALIVE_MS);
      await this.#answer(message).finally(() => clearInterval(alive));
      this.#idle();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** A run may be asked for together with the opening. */
  #waits(message: ClientMessage): boolean {
    if (message.type !== "run" || this.#session !== null || this.#early !== null) return false;
    this.#early = message;
    return true;
  }

  /** What comes after a run has ended by itself is too late to matter. */
  #steer(message: Extract<ClientMessage, { type: Steering }>): void {
    if (!this.#ran) throw new StepError("bad_frame", `A ${message.type} before any run.`);
    if (message.type === "pause") this.#run?.pause();
    else if (message.type === "hint") this.#run?.hint(message.hint);
    else this.#run?.grant(message.tokens, message.stamp);
  }

  async #answer(message: Exclude<ClientMessage, { type: Steering }>): Promise<void> {
    const { signal } = this.#gone;
    if (message.type === "open") {
      if (this.#session !== null) throw new StepError("bad_frame", "The session is already open.");
      this.#session = await ServedSession.open(this.#served, message.spec, this.#events, signal);
      const { bundle, cachedTokens, opened } = this.#session;
      this.#send({ type: "opened", bundle, cachedTokens, result: opened });
      const run = this.#early;
      if (run !== null && !run.request.limits.eosTokens.includes(opened.bonus)) await this.#drive(this.#session, run);
      return;
    }
    if (this.#session === null) throw new StepError("bad_frame", "The session is not open yet.");
    if (message.type === "run") {
      await this.#drive(this.#session, message);
      return;
    }
    const { index, draft } = message;
    this.#send({ type: "stepped", index, result: await this.#session.step(index, draft, signal) });
  }

  /** Drafts beside the model until the completion ends, the peer has enough of it, or this gpu-worker stops. */
  async #drive(session: ServedSession, { steps, request, credit }: RunMessage): Promise<void> {
    if (steps !== session.end.steps) throw new StepError("bad_frame", "A run from another place in the session.");
    // Before anything is awaited: a pause may come while a pack is loaded.
    const run = new Run(credit, () => performance.now());
    this.#run = run;
    this.#ran = true;
    if (this.#draining) run.pause();
    const rescorer = await this.#rescorerOf(request);
    if (rescorer === null) {
      this.#run = null;
      this.#send({ type: "paused", end: session.end });
      return;
    }
    this.#trace?.running();
    const blocks = run.blocks(session.loop(request, rescorer), this.#gone.signal, (waiting) => {
      if (waiting) this.#await(this.#limits.idleMs);
      else clearTimeout(this.#timer);
    });
    for (;;) {
      const { done, value } = await blocks.next();
      if (!done) {
        const block = request.verified ? value : { ...value, verified: null };
        const echo = run.echo();
        this.#send({ type: "block", block, echo: echo && { ...echo, load: this.#served.engine.load } });
        continue;
      }
      this.#run = null;
      this.#trace?.paused();
      if (value !== null) this.#send({ type: "paused", end: value });
      return;
    }
  }

  get #events(): SessionEvents {
    return {
      opened: (promptTokens, result, cachedTokens) => {
        this.#metrics.opened(promptTokens, result);
        this.#trace?.opened(promptTokens, cachedTokens, result);
      },
      stepped: (draft, result) => {
        this.#metrics.stepped(draft, result);
        this.#trace?.stepped(result);
      },
    };
  }

  /** null: this gpu-worker lacks what it takes, so the peer has to draft. */
  async #rescorerOf(request: RunMessage["request"]): Promise<Rescorer | null> {
    try {
      return await this.#served.drafting.rescorer(request);
    } catch (error) {
      if (!(error instanceof StepError) || error.code !== "unsupported") throw error;
      this.#metrics.failed(error.code);
      return null;
    }
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
    this.#stop();
    this.#session?.close();
    this.#socket.close(GOING_AWAY);
  }

  #fail(error: unknown): void {
    // The peer left meanwhile; the engine has cleaned up after itself.
    if (this.#state === "ended") return;
    this.#stop();
    if (!(error instanceof StepError)) console.error(error);
    const known = error instanceof StepError ? error : new StepError("internal", "The engine failed unexpectedly.");
    const { code, message, param, retryAfterS } = known;
    this.#metrics.failed(code);
    this.#trace?.end(code);
    this.#send({ type: "failed", code, message, param, retryAfterS });
    this.#socket.close(1000, code);
    this.#gone.abort();
    this.#session?.close();
  }

  #ended(): void {
    this.#stop();
    this.#gone.abort();
    this.#session?.close();
    this.#trace?.end(null);
    this.#metrics.sessionEnded();
  }

  #stop(): void {
    this.#state = "ended";
    clearTimeout(this.#timer);
    this.#run?.pause();
  }
}
