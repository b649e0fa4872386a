import type { Ahead, CancelSignal, OpenSpec, StepEngine, StepSession } from "../../shared/engine.ts";
import { type ErrorCode, StepError } from "../../shared/errors.ts";
import { AllFailed, firstOf, patienceFor, type Race } from "./hedge.ts";
import { Member } from "./member.ts";
import { marksOf } from "./prefixes.ts";
import { rank } from "./rank.ts";
import { type Placed, ResumingSession } from "./resuming-session.ts";

/** The gpu-workers there are now, by URL. */
export type WorkerList = (signal: CancelSignal) => Promise<readonly string[]>;

export interface PoolOptions {
  readonly workers: WorkerList;
  readonly engineAt: (url: string) => StepEngine;
  /** ms, any origin. */
  readonly now: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  readonly sleep: (ms: number, signal: CancelSignal) => Promise<void>;
  /** How long a stream that was lost looks for another gpu-worker, ms; the last round over all of them may end later. */
  readonly resumeMs: number;
}

/** What another gpu-worker may do better. */
const ELSEWHERE: ReadonlySet<ErrorCode> = new Set([
  "engine_unavailable",
  "engine_lost",
  "overloaded",
  "timeout",
  "bad_frame",
  "protocol_mismatch",
]);
/** First and longest pause between two rounds over all gpu-workers, ms; each is twice the last. */
const FIRST_ROUND_PAUSE_MS = 250;
const LONGEST_ROUND_PAUSE_MS = 4_000;

/** No gpu-worker is there; one may be back in a moment. */
const GONE: ReadonlySet<ErrorCode> = new Set(["engine_unavailable", "engine_lost"]);
/** How long a new session waits for one, ms. */
const OPENING_MS = 2_000;

/** What is opened at one gpu-worker. */
interface Opening {
  readonly spec: OpenSpec;
  /** Of its prompt (prefixes.ts). */
  readonly marks: readonly number[];
  readonly signal: CancelSignal;
  readonly ahead: Ahead | undefined;
  /** Called once the gpu-worker is reached. */
  readonly reached: () => void;
}

interface Patience {
  readonly ms: number;
  readonly worth: ReadonlySet<ErrorCode>;
  readonly ahead?: Ahead | undefined;
}

/**
 * Several engines as one: a session is opened where it is expected to be answered first, elsewhere if that fails, and
 * goes on elsewhere from its committed tokens when its engine is lost.
 */
export class PooledEngine implements StepEngine {
  readonly #options: PoolOptions;
  readonly #members = new Map<string, Member>();

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  async open(spec: OpenSpec, signal: CancelSignal, ahead?: Ahead): Promise<StepSession> {
    const { resumeMs } = this.#options;
    const placed = await this.#rounds(spec, signal, { ms: Math.min(resumeMs, OPENING_MS), worth: GONE, ahead });
    return new ResumingSession(spec, placed, {
      again: (text) => {
        const answered = (spec.answered ?? 0) + text.length - spec.prompt.length;
        return this.#rounds({ ...spec, prompt: text, answered }, signal, { ms: resumeMs, worth: ELSEWHERE });
      },
      told: ({ member }, told) => member.told(told, this.#options.now()),
      lost: ({ member }) => member.failed(this.#options.now()),
    });
  }

  /** As `#round`, again and again for `ms` where what it failed by is worth that. */
  async #rounds(spec: OpenSpec, signal: CancelSignal, { ms, worth, ahead }: Patience): Promise<Placed> {
    const { now, sleep } = this.#options;
    const until = now() + ms;
    for (let pause = FIRST_ROUND_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_ROUND_PAUSE_MS)) {
      try {
        return await this.#round(spec, signal, ahead);
      } catch (error) {
        const again = error instanceof StepError && worth.has(error.code);
        if (!again || now() + pause > until) throw error;
      }
      await sleep(pause, signal);
    }
  }

  /**
   * Tries every gpu-worker once: the next where one fails, or is not reached in a few times its usual time. Rejects with
   * the error of the one that was the likeliest to do it, or of one that is only busy, as it knows when to come again.
   */
  async #round(spec: OpenSpec, signal: CancelSignal, ahead?: Ahead): Promise<Placed> {
    const { now, random } = this.#options;
    const members = await this.#current(signal);
    const marks = marksOf(`${spec.model} ${spec.tenant}`, spec.prompt);
    const candidates = members.map((member) => member.candidate(marks, now()));
    const ranked = rank(candidates, spec.prompt.length, random).map((url) => this.#members.get(url)!);
    const usual = members.flatMap(({ reachedMs }) => reachedMs ?? []);
    // One that was never reached is taken to be no further away than the others.
    const patienceMs = ({ reachedMs }: Member) =>
      patienceFor(reachedMs ?? (usual.length > 0 ? Math.max(...usual) : null));
    const race: Race<Member, Placed> = {
      start: (member, own, reached) => this.#open(member, { spec, marks, signal: own, ahead, reached }),
      patienceMs,
      mayBeElsewhere: isElsewhere,
      overtaken: (member, silentMs) => {
        // Whoever gives up earlier tells nothing of it.
        if (silentMs !== null && silentMs >= patienceMs(member)) member.silent(now(), silentMs);
      },
      discard: ({ session }) => session.close(),
      now,
    };
    try {
      return await firstOf(ranked, race, signal);
    } catch (error) {
      throw error instanceof AllFailed ? refusalOf(error.errors) : error;
    }
  }

  async #open(member: Member, { spec, marks, signal, ahead, reached }: Opening): Promise<Placed> {
    const { now } = this.#options;
    const sentAt = now();
    member.sent();
    try {
      const session = await member.engine.open(spec, signal, (known) => {
        member.reached(now() - sentAt);
        reached();
        return ahead?.(known) ?? null;
      });
      member.told(session.opened, now(), session.bundle.costs);
      member.prefixes.note(marks);
      return { member, session };
    } catch (error) {
      if (signal.aborted) member.unsent();
      else note(member, error, now(), now() - sentAt);
      throw error;
    }
  }

  async #current(signal: CancelSignal): Promise<Member[]> {
    const urls = await this.#options.workers(signal);
    for (const url of this.#members.keys()) if (!urls.includes(url)) this.#members.delete(url);
    return urls.map((url) => {
      const member = this.#members.get(url) ?? new Member(url, this.#options.engineAt(url));
      this.#members.set(url, member);
      return member;
    });
  }
}

/** What an error that a gpu-worker was opened with says of it. */
function note(member: Member, error: unknown, now: number, costMs: number): void {
  if (!isElsewhere(error)) member.unsent();
  else if (GONE.has(error.code)) member.failed(now, costMs);
  else member.answered();
}

/** Of several gpu-workers' errors, the likeliest one's, or the first that is only busy. */
function refusalOf(errors: readonly unknown[]): StepError {
  const refusals = errors.filter(isElsewhere);
  return refusals.find(({ code }) => code === "overloaded") ?? refusals[0] ?? noEngine();
}

function isElsewhere(error: unknown): error is StepError {
  return error instanceof StepError && ELSEWHERE.has(error.code);
}

/** The first answer of the gpu-workers, the next one asked where one fails or says nothing. Rejects with the last one's error. */
export async function firstAnswer<T>(
  workers: WorkerList,
  ask: (url: string) => Promise<T>,
  signal: CancelSignal,
): Promise<T> {
  const race: Race<string, T> = {
    start: ask,
    patienceMs: () => patienceFor(null),
    mayBeElsewhere: () => true,
    overtaken: () => undefined,
    discard: () => undefined,
    now: () => performance.now(),
  };
  try {
    return await firstOf(await workers(signal), race, signal);
  } catch (error) {
    throw error instanceof AllFailed ? (error.errors.at(-1) ?? noEngine()) : error;
  }
}

/** Resolves after `ms`; rejects with StepError "client_closed" on an abort. */
export function sleep(ms: number, signal: CancelSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = () => reject(new StepError("client_closed", "The request was cancelled."));
  const timer = setTimeout(resolve, ms);
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort);
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  });
}

function noEngine(): StepError {
  return new StepError("engine_unavailable", "There is no model engine.");
}
