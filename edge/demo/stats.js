/** @import { Metrics, StepTrace } from "./api.js" */

/** One run as it arrived: every block with its time, and the counts the page shows. */
export class Recording {
  /** @type {{ trace: StepTrace, atMs: number }[]} `atMs` counts from the request. */
  blocks = [];
  text = "";
  tokens = 0;
  /** Model calls after the prefill. */
  steps = 0;
  /** Tokens those calls committed. */
  stepTokens = 0;
  accepted = 0;
  drafted = 0;
  /** By depth in the draft from 0: steps that drafted so deep, and steps that accepted so deep. */
  /** @type {{ drafted: number, accepted: number }[]} */
  positions = [];
  /** Known once the answer has ended. @type {Metrics["placement"] | null} */
  placement = null;

  /**
   * @param {StepTrace} trace
   * @param {number} atMs
   */
  add(trace, atMs) {
    const committed = trace.accepted.length + (trace.bonus === null ? 0 : 1);
    this.blocks.push({ trace, atMs });
    this.text += trace.accepted.join("") + (trace.bonus ?? "");
    this.tokens += committed;
    if (trace.step === 0) return;
    this.steps++;
    this.stepTokens += committed;
    this.accepted += trace.accepted.length;
    this.drafted += trace.drafted.length;
    this.#countPositions(trace);
  }

  /** @param {StepTrace} trace */
  #countPositions({ drafted }) {
    /** @type {number[]} */
    const depth = [];
    /** @type {boolean[]} */
    const accepted = [];
    for (const [i, node] of drafted.entries()) {
      const d = node.parent < 0 ? 0 : (depth[node.parent] ?? 0) + 1;
      depth[i] = d;
      accepted[d] = (accepted[d] ?? false) || node.accepted;
    }
    for (const [d, hit] of accepted.entries()) {
      const before = this.positions[d] ?? { drafted: 0, accepted: 0 };
      this.positions[d] = { drafted: before.drafted + 1, accepted: before.accepted + (hit ? 1 : 0) };
    }
  }

  /** Tokens per model call after the prefill, the bonus token included; null before the first. */
  get blockEfficiency() {
    return this.steps === 0 ? null : this.stepTokens / this.steps;
  }

  get firstTokenMs() {
    return this.blocks[0]?.atMs ?? null;
  }

  /** Tokens per second after the first one, as they reached this page; null before there is a rate. */
  get tokensPerSecond() {
    const first = this.blocks[0]?.atMs;
    const last = this.blocks.at(-1)?.atMs;
    if (first === undefined || last === undefined || last <= first) return null;
    return (this.stepTokens * 1000) / (last - first);
  }
}

/** @param {number | null} value */
export function fixed(value, digits = 2) {
  return value === null ? "–" : value.toFixed(digits);
}

/**
 * Where two texts part, or null where they are equal.
 *
 * @param {string} a
 * @param {string} b
 */
export function firstDifference(a, b) {
  if (a === b) return null;
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  return i;
}
