/** A reason is said again at most this often, ms. */
const QUIET_MS = 60_000;

/**
 * Says why peers are turned away: the first of a reason at once, those that follow as one count a minute, so that
 * whoever is refused cannot fill the log. Reasons are a fixed few and hold nothing a peer sent.
 */
export class RefusalLog {
  readonly #log: (line: string) => void;
  /** By reason: how many came since its last line. */
  readonly #held = new Map<string, { count: number; readonly timer: NodeJS.Timeout }>();

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /** @param peer its address, undefined where it is gone already */
  note(reason: string, peer: string | undefined): void {
    const held = this.#held.get(reason);
    if (held !== undefined) {
      held.count++;
      return;
    }
    this.#log(`refused ${peer ?? "a peer"}: ${reason}`);
    this.#wait(reason);
  }

  /** Says what is still to be said. */
  close(): void {
    for (const [reason, { count, timer }] of this.#held) {
      clearTimeout(timer);
      this.#sum(reason, count);
    }
    this.#held.clear();
  }

  #wait(reason: string): void {
    const timer = setTimeout(() => {
      const count = this.#held.get(reason)?.count ?? 0;
      this.#held.delete(reason);
      if (count === 0) return;
      this.#sum(reason, count);
      this.#wait(reason);
    }, QUIET_MS);
    timer.unref();
    this.#held.set(reason, { count: 0, timer });
  }

  #sum(reason: string, count: number): void {
    if (count > 0) this.#log(`refused ${count} more: ${reason}`);
  }
}
