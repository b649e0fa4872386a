import type { DraftTree } from "../draft-tree.ts";
import type { StepResult, TokenLogProbs } from "../engine.ts";
import { StepError } from "../errors.ts";
import { ROOT, type TokenId } from "../ids.ts";
import type { DecodeLimits } from "./run-request.ts";

/** "stop": an end-of-sequence token was committed; "length": as many tokens as were asked for. */
export type FinishReason = "stop" | "length";

export interface CommittedToken {
  readonly token: TokenId;
  /** "accepted": drafted and confirmed; "bonus": the model's own token after the accepted path. */
  readonly kind: "accepted" | "bonus";
  readonly logProbs: TokenLogProbs | null;
}

export interface DecodeState {
  /** Completion tokens committed so far. */
  readonly committed: number;
  readonly finish: FinishReason | null;
}

export const INITIAL_STATE: DecodeState = { committed: 0, finish: null };

export interface Advance {
  readonly state: DecodeState;
  /** Newly committed, in order; the end-of-sequence token is the last one where there is one. */
  readonly committed: readonly CommittedToken[];
}

/**
 * Commits the accepted path and the bonus token of one result, cut after an end-of-sequence token and
 * at the token limit, both of which may fall inside the block. Throws StepError "engine_failed" where
 * the accepted nodes are no path of `draft`: the engine and this side no longer agree.
 */
export function advance(state: DecodeState, limits: DecodeLimits, draft: DraftTree, result: StepResult): Advance {
  const tokens = [...acceptedTokens(draft, result), result.bonus];
  if (result.logProbs !== null && result.logProbs.length !== tokens.length) {
    throw new StepError("engine_failed", "The engine sent log-probabilities for another number of tokens.");
  }
  const committed: CommittedToken[] = [];
  let finish: FinishReason | null = null;
  for (const [i, token] of tokens.entries()) {
    const kind = i < tokens.length - 1 ? "accepted" : "bonus";
    committed.push({ token, kind, logProbs: result.logProbs?.[i] ?? null });
    if (limits.eosTokens.includes(token)) finish = "stop";
    else if (state.committed + committed.length >= limits.maxTokens) finish = "length";
    if (finish !== null) break;
  }
  return { state: { committed: state.committed + committed.length, finish }, committed };
}

/**
 * The state after a block that an engine made by itself. Throws StepError "engine_failed" where the block ends the
 * completion and should not, or should and does not.
 */
export function follow(state: DecodeState, limits: DecodeLimits, { committed, finish }: Followed): DecodeState {
  const ends = committed.findIndex(({ token }) => limits.eosTokens.includes(token));
  const total = state.committed + committed.length;
  const expected = ends >= 0 ? "stop" : total >= limits.maxTokens ? "length" : null;
  if (finish !== expected || (ends >= 0 && ends < committed.length - 1) || total > limits.maxTokens) {
    throw new StepError("engine_failed", "The engine went beyond the end of the completion, or stopped before it.");
  }
  return { committed: total, finish };
}

interface Followed {
  readonly committed: readonly CommittedToken[];
  readonly finish: FinishReason | null;
}

function acceptedTokens(draft: DraftTree, result: StepResult): TokenId[] {
  let parent = ROOT;
  return result.accepted.map((node) => {
    const token = draft.tokens[node];
    if (token === undefined || draft.parents[node] !== parent) {
      throw new StepError("engine_failed", "The engine accepted nodes that are no path of the draft.");
    }
    parent = node;
    return token;
  });
}

/** Deepest useful draft: the bonus token takes one of the remaining places. */
export function draftDepth(state: DecodeState, limits: DecodeLimits): number {
  return state.finish === null ? limits.maxTokens - state.committed - 1 : 0;
}
