/**
 * Finds stop strings in text that arrives in pieces. Text that may be the start of a stop string is
 * held back. The stop completed first wins, so the outcome does not depend on how the text was cut.
 */
export class StopScanner {
  readonly #stops: readonly string[];
  #held = "";

  /** `stops`: none of them empty. */
  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** Text that is safe to show, and whether a stop string followed it (then nothing is held any more). */
  push(piece: string): { readonly text: string; readonly stopped: boolean } {
    const text = this.#held + piece;
    let end = Number.POSITIVE_INFINITY;
    let start = 0;
    for (const stop of this.#stops) {
      const at = text.indexOf(stop);
      if (at < 0) continue;
      const stopEnd = at + stop.length;
      if (stopEnd < end || (stopEnd === end && at < start)) {
        end = stopEnd;
        start = at;
      }
    }
    if (end <= text.length) {
      this.#held = "";
      return { text: text.slice(0, start), stopped: true };
    }
    const shown = text.length - this.#partial(text);
    this.#held = text.slice(shown);
    return { text: text.slice(0, shown), stopped: false };
  }

  /** Gives up what was held back, at the end of the text. */
  end(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }

  /** Length of the longest end of `text` that begins a stop string. */
  #partial(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let n = Math.min(stop.length - 1, text.length); n > longest; n--) {
        if (text.endsWith(stop.slice(0, n))) longest = n;
      }
    }
    return longest;
  }
}
