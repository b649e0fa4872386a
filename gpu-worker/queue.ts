import { StepError } from "../shared/errors.ts";

export interface Turn<T> {
  readonly value: T;
  readonly waitedMs: number;
}

interface Waiting {
  start(): void;
}

/**
 * One forward pass at a time, first come, first served. A session asks for one turn at a time and a prefill asks
 * anew for each chunk, so this is round robin over the sessions that want something.
 */
export class ForwardQueue {
  readonly #waiting = new Set<Waiting>();
  readonly #maxWaitMs: number;
  readonly #now: () => number;
  #running = false;

  constructor(maxWaitMs: number, now: () => number) {
    this.#maxWaitMs = maxWaitMs;
    this.#now = now;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Runs `work` when its turn comes. Rejects with "client_closed" as soon as `cancel` aborts, also while `work` runs
   * (which then keeps its turn until it ends), and with "timeout" after waiting too long.
   */
  run<T>(work: () => Promise<T>, cancel: AbortSignal): Promise<Turn<T>> {
    const { promise, resolve, reject } = Promise.withResolvers<Turn<T>>();
    if (cancel.aborted) {
      reject(closedError());
      return promise;
    }
    const askedAt = this.#now();
    const entry: Waiting = {
      start: () => {
        clearTimeout(timer);
        const waitedMs = this.#now() - askedAt;
        this.#running = true;
        work()
          .then((value) => resolve({ value, waitedMs }), reject)
          .finally(() => {
            cancel.removeEventListener("abort", onAbort);
            this.#running = false;
            this.#next();
          });
      },
    };
    const leave = (error: StepError) => {
      this.#waiting.delete(entry);
      clearTimeout(timer);
      reject(error);
    };
    const onAbort = () => leave(closedError());
    const tooLong = () => leave(new StepError("timeout", "The engine was busy for too long."));
    const timer = this.#running ? setTimeout(tooLong, this.#maxWaitMs) : undefined;
    cancel.addEventListener("abort", onAbort, { once: true });
    this.#waiting.add(entry);
    this.#next();
    return promise;
  }

  #next(): void {
    if (this.#running) return;
    for (const entry of this.#waiting) {
      this.#waiting.delete(entry);
      entry.start();
      return;
    }
  }
}

export function closedError(): StepError {
  return new StepError("client_closed", "The session was closed.");
}
