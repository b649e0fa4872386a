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

/** The outcome of one model call for one completion: the prefill (index 0), then steps 1, 2, ... */
export interface Block {
  readonly index: number;
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
