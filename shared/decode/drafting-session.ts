import type { CancelSignal, Load, PassCosts, StepResult, StepSession } from "../engine.ts";
import type { RescorerSpec } from "../rescore/index.ts";
import type { DecodeLimits } from "./advance.ts";
import type { Block } from "./block.ts";
import type { DraftSize } from "./drafter.ts";
import type { Hint } from "./hints.ts";

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

/** What an engine is known by before a session is opened there; null: it has not been heard of. */
export interface EngineEstimates {
  readonly roundTripMs: number | null;
  readonly costs: PassCosts | null;
}

/**
 * The run that is to begin with the first token, so that the second does not wait for a round trip either; null: none.
 * The session's first call must then be `run`.
 */
export type Ahead = (known: EngineEstimates) => RunRequest | null;

/** What to go on from after a run. */
export interface RunEnd {
  readonly result: StepResult;
  /** Steps that the session has made in all. */
  readonly steps: number;
}

/** A session of an engine that can also draft: beside the model no token waits for a round trip. */
export interface DraftingSession extends StepSession {
  /** To the engine and back, ms, as seen lately by any session; null before anything was seen. */
  readonly roundTripMs: number | null;
  /** Of the engine, as it last told. */
  readonly load: Load;
  /**
   * Steps that the engine makes by itself from the last result on, until the completion ends, which the last block
   * says, or until `pause`. It runs ahead of its reader by a bounded number of tokens. The numbers of its blocks count
   * from 0; null is returned after the last one, where it got to otherwise. No step may be asked for meanwhile.
   * An engine that lacks what drafts are made from returns at once. Rejects with StepError.
   */
  run(request: RunRequest, signal: CancelSignal): AsyncGenerator<Block, RunEnd | null>;
  /** Something for the drafts of a run, from what only this side knows; it may come too late. */
  hint(hint: Hint): void;
  /** Ends a run with the step that it makes. */
  pause(): void;
}

export function canDraft(session: StepSession): session is DraftingSession {
  return "run" in session;
}
