import type { CancelSignal, Load, StepResult, StepSession } from "../engine.ts";
import type { Block } from "./block.ts";
import type { Hint } from "./hints.ts";
import type { RunRequest } from "./run-request.ts";

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
  /** Whether the engine drafts: a run was begun with the opening, or goes on. */
  readonly running: boolean;
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
