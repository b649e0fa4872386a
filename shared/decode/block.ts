import type { DraftTree } from "../draft-tree.ts";
import type { StepTiming } from "../engine.ts";
import type { NodeIndex } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import type { RunnersUp } from "../runners-up.ts";
import type { CommittedToken, FinishReason } from "./advance.ts";

/** What was verified in a step, and what of it the model confirmed, the nodes cut off by an end or a limit included. */
export interface Verified {
  readonly tree: DraftTree;
  /** What it was drafted from; left out: nothing. */
  readonly lattice?: Lattice | undefined;
  readonly accepted: readonly NodeIndex[];
}

/** The outcome of one model call for one completion. */
export interface Block {
  /**
   * The call's number in the completion: 0 is the prefill, so a session's step with index i is call i + 1. Of a run, which begins
   * after the prefill, an engine counts from where it likes; the loop numbers its blocks anew.
   */
  readonly call: number;
  /** At least one token. */
  readonly committed: readonly CommittedToken[];
  /** Of the committed tokens, where the session lists them. */
  readonly runnersUp?: RunnersUp | undefined;
  /** Drafted nodes verified; 0 for the prefill. */
  readonly drafted: number;
  /** null where nobody asked for it. */
  readonly verified: Verified | null;
  /** Of the prefill: prompt tokens that had been computed before; else 0. */
  readonly cachedTokens: number;
  readonly finish: FinishReason | null;
  /** The engine's own account. */
  readonly timing: StepTiming;
}
