import type { RunRequest } from "../../shared/decode/drafting-session.ts";
import { IDLE, type OpenSpec, type StepResult } from "../../shared/engine.ts";
import { EMPTY_LATTICE } from "../../shared/lattice.ts";

/** What sessions of tests begin with; each test changes what it is about. */

/** Greedy and plain: no lattice, no extras, of nobody in particular. */
export const PLAIN: OpenSpec = {
  model: "toy",
  prompt: Uint32Array.of(1),
  heads: 0,
  topK: 1,
  sampling: { temperature: 0, topP: 1, seed: 0 },
  logProbs: null,
  neural: null,
  fixed: false,
  tenant: "",
};

/** A run that drafts nothing. */
export const PLAIN_RUN: RunRequest = {
  rescorer: { type: "none" },
  pack: null,
  maxNodes: 0,
  autoNodes: false,
  limits: { maxTokens: 1_000, eosTokens: [] },
  guided: false,
  verified: false,
};

/** A step's result that commits `bonus` alone. */
export function plainResult(bonus: number): StepResult {
  const timing = { queueMs: 0, modelMs: 1, engineMs: 0 };
  return { accepted: [], bonus, lattice: EMPTY_LATTICE, logProbs: null, threshold: 0, timing, load: IDLE };
}
