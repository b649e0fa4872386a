/** Ends work that nothing is heard of any more. */
export class Silence {
  readonly #gone = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  /** Aborts with what was given to `expect` as its reason. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** From now on something is to be heard every `ms`, else `what` ("no answer") is the reason. */
  expect(ms: number, what: string): void {
    this.stop();
    this.#timer = setTimeout(() => this.#gone.abort(new Error(`${what} for ${ms / 1000} s`)), ms);
  }

  heard(): void {
    this.#timer?.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
