import type { CancelSignal } from "../../shared/engine.ts";

/** One way to get something, which may turn out to hang. */
export interface Attempt<T> {
  /** How long it may give no sign of life before the next one is begun beside it, ms. */
  readonly patienceMs: number;
  /** null: not to be had here. Rejects with what no other attempt would do better. `heard` tells that it is alive. */
  begin(signal: CancelSignal, heard: () => void): Promise<T | null>;
  /** No sign of life came in time; it may yet succeed. */
  late(): void;
}

/**
 * The first result of attempts that are begun in order: the next one when one has failed, or beside one that gives no sign
 * of life. All others are cancelled then, and what they bring nevertheless is discarded. null: none had any.
 */
export function hedged<T>(
  attempts: readonly Attempt<T>[],
  signal: CancelSignal,
  discard: (late: T) => void,
): Promise<T | null> {
  const { promise, resolve, reject } = Promise.withResolvers<T | null>();
  const running = new Map<AbortController, () => void>();
  let begun = 0;
  let over = false;
  const cancelAll = () => {
    for (const controller of running.keys()) controller.abort();
  };
  const end = (settle: () => void) => {
    over = true;
    signal.removeEventListener("abort", cancelAll);
    for (const silence of running.values()) silence();
    cancelAll();
    settle();
  };
  const next = () => {
    const attempt = attempts[begun];
    if (attempt === undefined) {
      if (running.size === 0) end(() => resolve(null));
      return;
    }
    begun++;
    const controller = new AbortController();
    if (signal.aborted) controller.abort();
    const timer = setTimeout(() => {
      attempt.late();
      next();
    }, attempt.patienceMs);
    const heard = () => clearTimeout(timer);
    running.set(controller, heard);
    // One that has ended is no longer to be cancelled: what it brought is in use.
    const ended = () => {
      heard();
      running.delete(controller);
    };
    attempt.begin(controller.signal, heard).then(
      (value) => {
        ended();
        if (over) return value === null ? undefined : discard(value);
        if (value === null) next();
        else end(() => resolve(value));
      },
      (error: unknown) => {
        ended();
        if (!over) end(() => reject(error));
      },
    );
  };
  signal.addEventListener("abort", cancelAll);
  next();
  return promise;
}
