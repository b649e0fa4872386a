import { setImmediate as realImmediate } from "node:timers";

interface Timer {
  at: number;
  /** Among those of one time, the first set comes first. */
  order: number;
  readonly act: () => void;
  /** null: once. */
  readonly everyMs: number | null;
  live: boolean;
}

/**
 * Time that passes only when nothing is left to do: between two timers all promises settle. While it is installed it
 * stands for the global timers and `performance.now`, so the same program makes the same run on every machine.
 */
export class VirtualClock {
  #now = 0;
  #order = 0;
  /** A binary heap by time, then order; those that were cancelled leave it when they come up, or when they are most of it. */
  #heap: Timer[] = [];
  #dead = 0;

  get now(): number {
    return this.#now;
  }

  /** Timers that are yet to come. */
  get pending(): number {
    return this.#heap.length - this.#dead;
  }

  after(ms: number, act: () => void, everyMs: number | null = null): Timer {
    const timer = { at: this.#now + Math.max(0, ms), order: this.#order++, act, everyMs, live: true };
    this.#push(timer);
    return timer;
  }

  cancel(timer: unknown): void {
    const { live } = (timer ?? {}) as Partial<Timer>;
    if (live !== true) return;
    (timer as Timer).live = false;
    if (++this.#dead < 64 || this.#dead * 2 < this.#heap.length) return;
    const left = this.#heap.filter((one) => one.live).sort((a, b) => a.at - b.at || a.order - b.order);
    this.#heap = left;
    this.#dead = 0;
  }

  /** Puts itself in place of the globals; returns how to undo that. */
  install(): () => void {
    const { setTimeout, clearTimeout, setInterval, clearInterval } = globalThis;
    const own = {
      setTimeout: (act: () => void, ms = 0) => this.after(ms, act),
      setInterval: (act: () => void, ms = 0) => this.after(ms, act, ms),
      clearTimeout: (timer: unknown) => this.cancel(timer),
      clearInterval: (timer: unknown) => this.cancel(timer),
    };
    Object.assign(globalThis, own);
    const realNow = Object.getOwnPropertyDescriptor(performance, "now");
    Object.defineProperty(performance, "now", { value: () => this.#now, configurable: true, writable: true });
    return () => {
      Object.assign(globalThis, { setTimeout, clearTimeout, setInterval, clearInterval });
      if (realNow === undefined) Reflect.deleteProperty(performance, "now");
      else Object.defineProperty(performance, "now", realNow);
    };
  }

  /** Lets time pass until `done` settles. Rejects where nothing is left that could settle it, or it takes too long. */
  async run<T>(done: Promise<T>, limitMs: number): Promise<T> {
    let settled = false;
    const end = () => {
      settled = true;
    };
    done.then(end, end);
    for (;;) {
      await settle();
      if (settled) return await done;
      if (!this.#next()) throw new Error(`nothing is left to happen at ${this.#now} ms`);
      if (this.#now > limitMs) throw new Error(`not done after ${limitMs} ms`);
    }
  }

  /** Comes to the next timer; false where there is none. */
  #next(): boolean {
    for (;;) {
      const timer = this.#pop();
      if (timer === undefined) return false;
      if (!timer.live) {
        this.#dead--;
        continue;
      }
      this.#now = timer.at;
      if (timer.everyMs === null) timer.live = false;
      else {
        timer.at += Math.max(1, timer.everyMs);
        timer.order = this.#order++;
        this.#push(timer);
      }
      timer.act();
      return true;
    }
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.push(timer) - 1;
    for (let up = (at - 1) >> 1; at > 0 && earlier(timer, heap[up]!); up = (at - 1) >> 1) {
      heap[at] = heap[up]!;
      at = up;
    }
    heap[at] = timer;
  }

  #pop(): Timer | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || last === first) return first;
    let at = 0;
    for (let down = 1; down < heap.length; down = at * 2 + 1) {
      if (down + 1 < heap.length && earlier(heap[down + 1]!, heap[down]!)) down++;
      if (!earlier(heap[down]!, last)) break;
      heap[at] = heap[down]!;
      at = down;
    }
    heap[at] = last;
    return first;
  }
}

function earlier(a: Timer, b: Timer): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** Once all that can be done now has been. */
function settle(): Promise<void> {
  return new Promise((resolve) => void realImmediate(resolve));
}
