import type { Block } from "../shared/decode/block.ts";
import type { RunEnd } from "../shared/decode/drafting-session.ts";
import type { Loop } from "../shared/decode/loop.ts";
import type { CancelSignal } from "../shared/engine.ts";
import type { Echo } from "../shared/messages.ts";

/** A session that drafts itself: steps one after the other as long as there is credit. */
export class Run {
  readonly #loop: Loop;
  readonly #now: () => number;
  /** Tokens that may still be sent. */
  #credit: number;
  #paused = false;
  #stamp: { readonly stamp: number; readonly at: number } | null = null;
  #wake: () => void = () => undefined;

  constructor(loop: Loop, credit: number, now: () => number) {
    this.#loop = loop;
    this.#credit = credit;
    this.#now = now;
  }

  grant(tokens: number, stamp: number): void {
    this.#credit += tokens;
    this.#stamp = { stamp, at: this.#now() };
    this.#wake();
  }

  /** Ends it with the step that runs. */
  pause(): void {
    this.#paused = true;
    this.#wake();
  }

  /** What the next block returns of the stamps that came; null where none did since the last. */
  echo(): Pick<Echo, "stamp" | "heldMs"> | null {
    if (this.#stamp === null) return null;
    const { stamp, at } = this.#stamp;
    this.#stamp = null;
    return { stamp, heldMs: this.#now() - at };
  }

  /**
   * Blocks until the completion ends (no value) or the run is paused (where it got to). `waits` is told when it begins to
   * wait for credit, and when it goes on.
   */
  async *blocks(signal: CancelSignal, waits: (waiting: boolean) => void): AsyncGenerator<Block, RunEnd | null> {
    while (!this.#paused) {
      if (this.#credit <= 0) {
        waits(true);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        waits(false);
        continue;
      }
      const block = await this.#loop.step(this.#loop.draft(), signal);
      this.#credit -= block.committed.length;
      yield block;
      if (block.finish !== null) return null;
    }
    return this.#loop.end;
  }
}
