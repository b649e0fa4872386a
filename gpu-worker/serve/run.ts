import type { Block } from "../../shared/decode/block.ts";
import type { RunEnd } from "../../shared/decode/drafting-session.ts";
import type { Hint } from "../../shared/decode/hints.ts";
import type { Loop } from "../../shared/decode/loop.ts";
import type { CancelSignal } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { Echo } from "../../shared/messages.ts";

/** A session that drafts itself: steps one after the other as long as there is credit. */
export class Run {
  readonly #now: () => number;
  /** Tokens that may still be sent. */
  #credit: number;
  #paused = false;
  #hint: Hint | null = null;
  #stamp: { readonly stamp: number; readonly at: number } | null = null;
  #wake: () => void = () => undefined;

  constructor(credit: number, now: () => number) {
    this.#credit = credit;
    this.#now = now;
  }

  /** Throws StepError "bad_frame" where the peer would let it be further ahead than any run may be. */
  grant(tokens: number, stamp: number): void {
    this.#credit += tokens;
    if (this.#credit > LIMITS.runCredit) throw new StepError("bad_frame", "More credit than a run may have.");
    this.#stamp = { stamp, at: this.#now() };
    this.#wake();
  }

  /** For the next draft; a newer one replaces it. */
  hint(hint: Hint): void {
    this.#hint = hint;
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
   * Blocks, by the numbers of their steps in the session, until the completion ends (no value) or the run is paused (where
   * it got to). `waits` is told when it begins to wait for credit, and when it goes on.
   */
  async *blocks(
    loop: Loop,
    signal: CancelSignal,
    waits: (waiting: boolean) => void,
  ): AsyncGenerator<Block, RunEnd | null> {
    while (!this.#paused) {
      if (this.#credit <= 0) {
        waits(true);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        waits(false);
        continue;
      }
      if (this.#hint !== null) loop.hint(this.#hint);
      this.#hint = null;
      const block = await loop.step(loop.draft(), signal);
      this.#credit -= block.committed.length;
      yield { ...block, call: loop.end.steps - 1 };
      if (block.finish !== null) return null;
    }
    return loop.end;
  }
}
