import { setImmediate as turn } from "node:timers/promises";

export interface Expected {
  /** By when it is likely to have asked; null where it has, and where nothing is known. */
  readonly expectedAt: number | null;
}

/** Waits before a pass for those who are about to ask, so that one pass serves all. */
export class Gathering {
  readonly #now: () => number;
  #woken: () => void = () => undefined;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Somebody has asked. */
  wake(): void {
    this.#woken();
  }

  /**
   * Resolves once of those who are expected to ask, none is expected within what is left of `patienceMs`.
   */
  async wait(sessions: Iterable<Expected>, patienceMs: number): Promise<void> {
    const all = [...sessions];
    // What comes together is there after one turn of the event loop.
    await turn();
    const until = this.#now() + patienceMs;
    for (;;) {
      const now = this.#now();
      let last = now;
      for (const { expectedAt } of all)
        if (expectedAt !== null && expectedAt <= until) last = Math.max(last, expectedAt);
      if (last === now) return;
      await this.#change(last - now);
    }
  }

  /** Resolves when somebody has asked, and after `ms` in any case. */
  #change(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#woken = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
