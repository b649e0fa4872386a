import type { TokenId } from "../../shared/ids.ts";

/** Tokens between two marks: prefixes are compared this finely. */
const BLOCK = 64;
/** Marks remembered per gpu-worker, the oldest forgotten first. */
const MARKS = 4096;

/** Marks of a text's prefixes of 64, 128, ... tokens; equal marks mean equal prefixes of one tenant, almost surely. */
export function marksOf(tenant: string, tokens: ArrayLike<TokenId>): number[] {
  const marks: number[] = [];
  let low = 0x811c9dc5;
  let high = 0x9e3779b9;
  const mix = (value: number) => {
    low = Math.imul(low ^ value, 0x01000193);
    high = Math.imul(high ^ value, 0x85ebca6b) ^ (high >>> 13);
  };
  for (let i = 0; i < tenant.length; i++) mix(tenant.charCodeAt(i));
  for (let i = 0; i < tokens.length; i++) {
    mix(tokens[i]! + 1);
    if ((i + 1) % BLOCK === 0) marks.push((high >>> 0) * 2 ** 21 + ((low >>> 0) & 0x1fffff));
  }
  return marks;
}

/** Which texts a gpu-worker has been sent lately. */
export class KnownPrefixes {
  readonly #marks = new Set<number>();

  note(marks: readonly number[]): void {
    for (const mark of marks) {
      this.#marks.delete(mark);
      this.#marks.add(mark);
    }
    for (const mark of this.#marks) {
      if (this.#marks.size <= MARKS) break;
      this.#marks.delete(mark);
    }
  }

  /** Tokens of the longest prefix noted. */
  tokens(marks: readonly number[]): number {
    let known = 0;
    while (known < marks.length && this.#marks.has(marks[known]!)) known++;
    return known * BLOCK;
  }

  forget(): void {
    this.#marks.clear();
  }
}
