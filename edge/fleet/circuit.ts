/** First and longest time that a gpu-worker which failed is left alone, ms. */
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
/** It is left alone for so many times what it took to find out: one that hangs costs whoever tries it much more than one that refuses. */
const PER_COST = 5;

/**
 * What is known of a gpu-worker's failures. *closed*: none lately. *open*: it has just failed and is left alone.
 * *half-open*: it may be tried, by one session at a time, since nobody knows whether it is back.
 */
export interface Circuit {
  /** Length of the last pause, ms; 0 while the circuit is closed. */
  readonly pauseMs: number;
  readonly openUntil: number;
}

export type CircuitState = "closed" | "half-open" | "open";

export const CLOSED: Circuit = { pauseMs: 0, openUntil: Number.NEGATIVE_INFINITY };

export function stateOf({ pauseMs, openUntil }: Circuit, now: number): CircuitState {
  if (pauseMs === 0) return "closed";
  return now < openUntil ? "open" : "half-open";
}

/** After a failure that took `costMs` to find out. While it is open, others only tell of the same failure. */
export function afterFailure(circuit: Circuit, now: number, costMs: number): Circuit {
  if (stateOf(circuit, now) === "open") return circuit;
  const pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, circuit.pauseMs * 2, costMs * PER_COST));
  return { pauseMs, openUntil: now + pauseMs };
}
