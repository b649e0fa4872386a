import { ROOT, type TokenId } from "../ids.ts";
import type { LmState } from "../ngram/model.ts";
import type { PromptState } from "../ngram/prompt.ts";

/** Where a path stands: what its next token depends on. */
export interface PathEnd {
  /** Tokens drafted so far: the column that the next one is in. */
  readonly depth: number;
  readonly lm: LmState;
  readonly prompt: PromptState;
  /** The newest token and its rank in its column; ROOT's rank for a committed token. */
  readonly token: TokenId;
  readonly rank: number;
  /** The token before the newest one. */
  readonly before: TokenId;
  /** How many of the newest tokens were copies, each of what lately followed the longest match before it. */
  readonly run: number;
}

/** The rank of a committed token, which no head listed. */
export const COMMITTED = ROOT - 1;
