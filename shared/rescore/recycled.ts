import { assert } from "../assert.ts";
import { copyInto } from "../grow.ts";
import type { TokenId } from "../ids.ts";
import { LIMITS } from "../limits.ts";
import { type RunnersUp, rowCount, rowsOf } from "../runners-up.ts";

/** Tokens of a row: the one that was committed, then the runners-up. */
export const RECYCLED = LIMITS.runnersUp + 1;
const FIRST_ROWS = 64;

/**
 * Token recycling (Luo et al. 2024) in one completion: the runners-up of every committed token, found again by the two
 * tokens before it. They belong to the session, so nothing of one request shows in another. At most
 * LIMITS.contextTokens rows of 40 bytes.
 */
export class Recycled {
  /** [rows * RECYCLED] */
  tokens = new Uint32Array(FIRST_ROWS * RECYCLED);
  /** [rows * RECYCLED] RunnersUp.gaps; 0 for the committed token. */
  gaps = new Uint8Array(FIRST_ROWS * RECYCLED);
  /** Filled by `find`: whether the pair had come before, and the row: its first place in `tokens` and `gaps`, its length. */
  pair = false;
  at = 0;
  count = 0;
  #counts = new Uint8Array(FIRST_ROWS);
  #rows = 0;
  /** token -> the last row after it, and by the token before that. */
  readonly #after = new Map<TokenId, { last: number; readonly pairs: Map<TokenId, number> }>();
  #before: TokenId | null = null;
  #newest: TokenId | null = null;

  /** `runnersUp`: of the last ones of `tokens`; a prompt has none. */
  commit(tokens: ArrayLike<TokenId>, runnersUp: RunnersUp): void {
    const unknown = tokens.length - rowCount(runnersUp);
    assert(unknown >= 0, "runners-up of committed tokens");
    for (let i = 0; i < tokens.length; i++) {
      if (i >= unknown) this.#add(tokens[i]!, rowsOf(runnersUp, i - unknown, i - unknown + 1));
      this.#before = this.#newest;
      this.#newest = tokens[i]!;
    }
  }

  /**
   * Whether `token` has been followed by anything: then the row is that of the last time after `before`, or else of the
   * last time at all.
   */
  find(before: TokenId, token: TokenId): boolean {
    const found = this.#after.get(token);
    if (found === undefined) return false;
    const row = found.pairs.get(before);
    const chosen = row ?? found.last;
    this.pair = row !== undefined;
    this.at = chosen * RECYCLED;
    this.count = this.#counts[chosen]!;
    return true;
  }

  #add(committed: TokenId, { k, tokens, gaps }: RunnersUp): void {
    if (this.#newest === null || this.#rows === LIMITS.contextTokens) return;
    if (this.#rows === this.#counts.length) this.#grow();
    const row = this.#rows++;
    this.tokens[row * RECYCLED] = committed;
    this.gaps[row * RECYCLED] = 0;
    this.tokens.set(tokens, row * RECYCLED + 1);
    this.gaps.set(gaps, row * RECYCLED + 1);
    this.#counts[row] = 1 + k;
    const known = this.#after.get(this.#newest);
    const after = known ?? { last: row, pairs: new Map<TokenId, number>() };
    after.last = row;
    if (this.#before !== null) after.pairs.set(this.#before, row);
    if (known === undefined) this.#after.set(this.#newest, after);
  }

  #grow(): void {
    const rows = 2 * this.#counts.length;
    this.tokens = copyInto(new Uint32Array(rows * RECYCLED), this.tokens);
    this.gaps = copyInto(new Uint8Array(rows * RECYCLED), this.gaps);
    this.#counts = copyInto(new Uint8Array(rows), this.#counts);
  }
}
