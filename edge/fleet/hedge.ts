import type { CancelSignal } from "../../shared/engine.ts";

/** What several candidates are asked to do, of which one is enough. */
export interface Race<C, T> {
  /** Begins; `reached` is called once the candidate has shown that it is there. */
  start(candidate: C, signal: AbortSignal, reached: () => void): Promise<T>;
  /** How long one that has shown nothing is waited for alone, ms. */
  patienceMs(candidate: C): number;
  /** Whether another candidate may do what this one failed to do. */
  mayBeElsewhere(error: unknown): boolean;
  /** Cancelled, since another one was first, or nobody wants it any more. `silentMs`: how long it had shown nothing; null: it had. */
  overtaken(candidate: C, silentMs: number | null): void;
  /** What came although it was cancelled. */
  discard(late: T): void;
  /** ms, any origin. */
  now(): number;
}

/** Before one has been reached it is taken to take so long, ms. */
const USUAL_MS = 250;
/** So many times the usual time is worth waiting. */
const TIMES = 4;
/** Programs pause for their garbage, and packets are lost, ms. */
const LEAST_PATIENCE_MS = 250;
const MOST_PATIENCE_MS = 1_500;

/** How long to wait, ms, for one that is usually reached in `usualMs`; null: it never was. */
export function patienceFor(usualMs: number | null): number {
  return Math.min(MOST_PATIENCE_MS, Math.max(LEAST_PATIENCE_MS, TIMES * (usualMs ?? USUAL_MS)));
}

interface Runner<C> {
  readonly candidate: C;
  readonly cancel: AbortController;
  /** null once it was reached. */
  silentSince: number | null;
}

/** Every candidate failed; [candidates] by what. */
export class AllFailed extends Error {
  readonly errors: readonly unknown[];

  constructor(errors: readonly unknown[]) {
    super("every candidate failed");
    this.errors = errors;
  }
}

/**
 * The first success of candidates that are begun one after the other: the next one when the last has failed, or has
 * shown nothing for as long as it is worth. The others are cancelled. Rejects with AllFailed, or at once with an error
 * that another candidate would meet, too.
 */
export async function firstOf<C, T>(candidates: readonly C[], race: Race<C, T>, signal: CancelSignal): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const open = new Set<Runner<C>>();
  const errors: unknown[] = [];
  let timer: ReturnType<typeof setTimeout> | null = null;
  let begun = 0;
  let over = false;

  const stopWaiting = () => {
    if (timer !== null) clearTimeout(timer);
  };
  const begin = () => {
    stopWaiting();
    if (begun === candidates.length) {
      if (open.size === 0) reject(new AllFailed(errors));
      return;
    }
    const index = begun++;
    const candidate = candidates[index]!;
    const runner: Runner<C> = { candidate, cancel: new AbortController(), silentSince: race.now() };
    open.add(runner);
    // Also of one that would follow a cancelled one: what that failed by need not tell that it was cancelled.
    if (signal.aborted) runner.cancel.abort();
    timer = setTimeout(begin, race.patienceMs(candidate));
    const reached = () => {
      runner.silentSince = null;
      if (index === begun - 1) stopWaiting();
    };
    race.start(candidate, runner.cancel.signal, reached).then(
      (value) => {
        open.delete(runner);
        if (over) return race.discard(value);
        over = true;
        resolve(value);
      },
      (error: unknown) => {
        open.delete(runner);
        if (over) return;
        errors[index] = error;
        if (!race.mayBeElsewhere(error)) reject(error);
        // Of one that was no longer waited for alone the next has begun already.
        else if (index === begun - 1 || open.size === 0) begin();
      },
    );
  };

  const cancelAll = () => {
    for (const { cancel } of open) cancel.abort();
  };
  signal.addEventListener("abort", cancelAll);
  try {
    begin();
    return await promise;
  } finally {
    over = true;
    stopWaiting();
    signal.removeEventListener("abort", cancelAll);
    for (const { candidate, silentSince } of open) {
      race.overtaken(candidate, silentSince === null ? null : race.now() - silentSince);
    }
    cancelAll();
  }
}
