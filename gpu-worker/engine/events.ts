import type { PassWork } from "./costs.ts";

/** What an engine tells whoever keeps its statistics. */
export interface EngineEvents {
  /** A pass ended: what it consisted of, sessions in it, tokens committed, and its time, ms. */
  pass(report: PassWork & { readonly sessions: number; readonly committed: number; readonly ms: number }): void;
  /** A prompt was looked up: tokens found, of tokens in all. */
  shared(found: number, tokens: number): void;
  preempted(): void;
  /** The model was lost and is started again. */
  lost(): void;
}
