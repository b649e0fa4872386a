import type { Block } from "../../shared/decode/block.ts";
import type { DraftingSession, RunEnd } from "../../shared/decode/drafting-session.ts";
import type { Hint } from "../../shared/decode/hints.ts";
import { blend } from "../../shared/decode/placement.ts";
import type { RunRequest } from "../../shared/decode/run-request.ts";
import type { DraftTree } from "../../shared/draft-tree.ts";
import type {
  Ahead,
  BundleInfo,
  CancelSignal,
  Load,
  OpenSpec,
  PassCosts,
  StepEngine,
  StepResult,
  StepSession,
} from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { type Echo, type OpenedMessage, PROTOCOL_VERSION } from "../../shared/messages.ts";
import type { TraceHeaders } from "../../shared/telemetry/tracing.ts";
import { blockNumber } from "../../shared/wire/run.ts";
import { type ClientSocket, cancelled, Link, UNAVAILABLE, unexpected } from "./link.ts";

/**
 * Connects to the gpu-worker's /v1/step, as part of a trace where there is one; an abort gives that up. Its socket delivers binary messages as ArrayBuffer.
 * Rejects with StepError "engine_unavailable" where nothing answers.
 */
export type Connect = (signal: CancelSignal, trace?: TraceHeaders) => Promise<ClientSocket>;

export interface Deadlines {
  readonly connectMs: number;
  /** The prefill, waiting in the queue included. */
  readonly openMs: number;
  readonly stepMs: number;
  /** Between signs of life while an answer is waited for: a gpu-worker gives one twice a second. */
  readonly silenceMs: number;
}

export const DEADLINES: Deadlines = { connectMs: 3_000, openMs: 120_000, stepMs: 60_000, silenceMs: 2_500 };

/**
 * A StepEngine over one WebSocket per session, which in workerd belongs to one request. A session whose
 * socket is lost is lost: the gpu-worker drops it too, so nothing is retried here.
 */
export function createGpuClient(
  connect: Connect,
  deadlines: Deadlines = DEADLINES,
  now: () => number = () => performance.now(),
): StepEngine {
  const trip = new RoundTrip();
  let costs: PassCosts | null = null;
  return {
    async open(spec: OpenSpec, signal: CancelSignal, ahead?: Ahead): Promise<StepSession> {
      if (signal.aborted) throw cancelled();
      const socket = await deadline(connect(signal, spec.trace), deadlines.connectMs, (late) =>
        late.close(1000, "too late"),
      );
      const link = new Link(socket, deadlines.silenceMs);
      const sentAt = now();
      link.send({ type: "open", version: PROTOCOL_VERSION, spec });
      const run = ahead?.({ roundTripMs: trip.ms, costs }) ?? null;
      if (run !== null) beginRun(link, run, 0);
      const opened = await link.receive(deadlines.openMs, signal);
      if (opened.type !== "opened") throw link.fail(unexpected());
      link.opened = true;
      costs = opened.bundle.costs;
      trip.observe(now() - sentAt - engineTime(opened.result));
      return new GpuSession(link, opened, { stepMs: deadlines.stepMs, running: run !== null }, trip, now);
    },
  };
}

/** Tokens that a run may be ahead of its reader: some round trips' worth, and what a stop string at worst throws away. */
const RUN_CREDIT = 256;

function beginRun(link: Link, request: RunRequest, steps: number): void {
  link.send({ type: "run", steps, request, credit: RUN_CREDIT });
  link.unasked = true;
}

function engineTime({ timing }: StepResult): number {
  return timing.queueMs + timing.modelMs + timing.engineMs;
}

class GpuSession implements DraftingSession {
  readonly bundle: BundleInfo;
  readonly cachedTokens: number;
  readonly opened: StepResult;
  load: Load;
  /** Steps made so far. */
  #steps = 0;
  readonly #link: Link;
  readonly #stepMs: number;
  readonly #trip: RoundTrip;
  readonly #now: () => number;
  /** Whether the engine drafts. */
  #running: boolean;

  /** `running`: a run was asked for together with the opening. */
  constructor(
    link: Link,
    opened: OpenedMessage,
    { stepMs, running }: { readonly stepMs: number; readonly running: boolean },
    trip: RoundTrip,
    now: () => number,
  ) {
    this.bundle = opened.bundle;
    this.cachedTokens = opened.cachedTokens;
    this.opened = opened.result;
    this.load = opened.result.load;
    this.#link = link;
    this.#stepMs = stepMs;
    this.#trip = trip;
    this.#now = now;
    this.#running = running;
  }

  get roundTripMs(): number | null {
    return this.#trip.ms;
  }

  get running(): boolean {
    return this.#running;
  }

  async step(index: number, draft: DraftTree, signal: CancelSignal): Promise<StepResult> {
    const sentAt = this.#now();
    this.#link.send({ type: "step", index, draft });
    const reply = await this.#link.receive(this.#stepMs, signal);
    if (reply.type !== "stepped" || reply.index !== index) throw this.#link.fail(unexpected());
    this.#trip.observe(this.#now() - sentAt - engineTime(reply.result));
    this.load = reply.result.load;
    this.#steps = index + 1;
    return reply.result;
  }

  async *run(request: RunRequest, signal: CancelSignal): AsyncGenerator<Block, RunEnd | null> {
    const stamps = new Stamps(this.#now);
    const link = this.#link;
    if (!this.#running) beginRun(link, request, this.#steps);
    this.#running = true;
    let taken = 0;
    for (let call = 0; ; call++) {
      const inTime = link.waits;
      const reply = await link.receive(this.#stepMs, signal);
      if (reply.type === "paused" && reply.end.steps === this.#steps) {
        link.unasked = false;
        this.#running = false;
        return reply.end;
      }
      if (reply.type !== "block" || reply.block.call !== blockNumber(this.#steps)) throw link.fail(unexpected());
      this.#steps++;
      const { block, echo } = reply;
      if (echo !== null) {
        this.load = echo.load;
        const tripMs = stamps.seen(echo);
        // What had to wait for its reader says nothing about the wire.
        if (tripMs !== null && inTime) this.#trip.observe(tripMs);
      }
      yield { ...block, call };
      if (block.finish !== null) return null;
      // Only what its reader has taken makes room for more.
      taken += block.committed.length;
      if (taken < RUN_CREDIT / 8) continue;
      link.send({ type: "credit", tokens: taken, stamp: stamps.next() });
      taken = 0;
    }
  }

  hint(hint: Hint): void {
    if (this.#running) this.#link.send({ type: "hint", hint });
  }

  pause(): void {
    // Before it begins there is nothing to end: a session that goes on elsewhere may be paused between two engines.
    if (this.#running) this.#link.send({ type: "pause" });
  }

  close(): void {
    this.#link.fail(cancelled());
  }
}

/** The round trip to one gpu-worker, from all sessions' replies. */
class RoundTrip {
  ms: number | null = null;

  observe(ms: number): void {
    this.ms = blend(this.ms, Math.max(0, ms));
  }
}

/** Round trips of messages that are answered by and by. */
class Stamps {
  readonly #now: () => number;
  readonly #sentAt = new Map<number, number>();
  #last = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  next(): number {
    this.#sentAt.set(++this.#last, this.#now());
    return this.#last;
  }

  /** ms; null where nothing new is echoed. */
  seen(echo: Echo): number | null {
    const sentAt = this.#sentAt.get(echo.stamp);
    if (sentAt === undefined) return null;
    for (const stamp of this.#sentAt.keys()) if (stamp <= echo.stamp) this.#sentAt.delete(stamp);
    return this.#now() - sentAt - echo.heldMs;
  }
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
