import type { TokenId } from "../ids.ts";
import type { RescorerSpec } from "../rescore/index.ts";

export interface DecodeLimits {
  /** Completion tokens, at least 1. */
  readonly maxTokens: number;
  readonly eosTokens: readonly TokenId[];
}

export interface DraftSize {
  /** Upper bound of drafted nodes per step; 0 drafts nothing. */
  readonly maxNodes: number;
  /** true: at most `maxNodes`, of which the engine verifies those that pay; false: all of `maxNodes`. */
  readonly autoNodes: boolean;
}

/** How an engine is to draft by itself. */
export interface RunRequest extends DraftSize {
  readonly rescorer: RescorerSpec;
  /** The n-gram pack it looks at: hex SHA-256 of the file; null without one. */
  readonly pack: string | null;
  /** What the answer is expected to be much like, at most LIMITS.contextTokens; left out: nothing is expected. */
  readonly prediction?: Uint32Array;
  readonly limits: DecodeLimits;
  /** Whether drafts are made by the session's grammar, where there is one. */
  readonly guided: boolean;
  /** Whether blocks tell what was verified. */
  readonly verified: boolean;
}
