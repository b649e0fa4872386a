import type { EngineEvents } from "./events.ts";

export interface EngineLimits {
  /** Sessions open at once, those that wait to begin included. */
  readonly maxSessions: number;
  /** Longest wait for the first pass, ms. */
  readonly maxWaitMs: number;
  /** Longest pass that prompts may make while others decode, ms. */
  readonly passMs: number;
  /** The same while nobody does. */
  readonly prefillMs: number;
  /** A session whose peer asks for nothing this long is the first to make room, ms. */
  readonly staleMs: number;
}

export const ENGINE_LIMITS: EngineLimits = {
  maxSessions: 64,
  maxWaitMs: 60_000,
  passMs: 60,
  prefillMs: 200,
  staleMs: 2_000,
};

export interface EngineOptions extends Partial<EngineLimits> {
  /** ms, any origin. */
  readonly now?: () => number;
  readonly events?: Partial<EngineEvents>;
}
