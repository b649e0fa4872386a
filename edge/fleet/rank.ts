import { IDLE, type Load, type PassCosts } from "../../shared/engine.ts";
import type { CircuitState } from "./circuit.ts";

/** What is known of a gpu-worker when somebody has to be sent to one. */
export interface Candidate {
  readonly url: string;
  /** As it last told; null before it has told anything. */
  readonly load: Load | null;
  /** Sessions sent there since. */
  readonly fresh: number;
  /** null before it has told what passes cost. */
  readonly costs: PassCosts | null;
  /** Tokens of the prompt that it is likely to have computed before. */
  readonly knownTokens: number;
  /** Whether it failed lately. */
  readonly state: CircuitState;
}

/** Before a gpu-worker has told: what decides is the others' figures. */
const USUAL_COSTS: PassCosts = { pass: 8, row: 0.5, wanted: 0.1, context: 0.5, heads: 0.5 };
/** Steps of an answer of ordinary length. */
const STEPS = 64;
/** A cache so full that sessions will lose their place. */
const FULL = 0.9;
/** What that is worth avoiding, ms. */
const FULL_MS = 2_000;

/** Half of what a gpu-worker told of is taken to be over after so long, ms: about the time of an answer. */
const HALF_LIFE_MS = 5_000;

/** What a gpu-worker told `ageMs` ago, as likely now: nobody says when sessions end that other edges opened there. */
export function aged({ running, waiting, kvUsed, passMs }: Load, ageMs: number): Load {
  const left = 0.5 ** (Math.max(0, ageMs) / HALF_LIFE_MS);
  return { running: running * left, waiting: waiting * left, kvUsed: kvUsed * left, passMs };
}

/** Expected delay of a session there beyond what it would have alone with an idle worker that knows its prompt, ms. */
export function expectedDelayMs({ load, fresh, costs, knownTokens }: Candidate, promptTokens: number): number {
  const { running, waiting, kvUsed, passMs } = load ?? IDLE;
  const { row, wanted, pass } = costs ?? USUAL_COSTS;
  const prefill = Math.max(0, promptTokens - knownTokens) * row;
  const others = running + waiting + fresh;
  // Those that wait run their prompts first, a few passes each; all share the passes afterwards.
  const queue = (waiting + fresh) * Math.max(passMs, pass) * 2;
  const sharing = others * (row + wanted) * STEPS;
  return prefill + queue + sharing + (kvUsed > FULL ? FULL_MS : 0);
}

/**
 * Gpu-workers in the order in which to try them: the one expected to answer first, first; those that failed lately last.
 * One that may be back is tried at its place, but only as the first: whoever has lost time with one goes where there is no
 * doubt. `tie` breaks ties, so that edges that know nothing spread.
 */
export function rank(candidates: readonly Candidate[], promptTokens: number, tie: () => number): string[] {
  const ordered = candidates
    .map((candidate) => ({ ...candidate, delay: expectedDelayMs(candidate, promptTokens), tie: tie() }))
    .sort((a, b) => Number(a.state === "open") - Number(b.state === "open") || a.delay - b.delay || a.tie - b.tie);
  const [first, ...rest] = ordered;
  const doubt = { closed: 0, "half-open": 1, open: 2 };
  rest.sort((a, b) => doubt[a.state] - doubt[b.state]);
  return [...(first === undefined ? [] : [first]), ...rest].map(({ url }) => url);
}
