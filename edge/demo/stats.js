/** @import { Chunk, Metrics, StepTrace, ToolCallDelta, Usage } from "./api.js" */

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
  /** These three are known once the answer has ended. @type {Metrics | null} */
  metrics = null;
  /** @type {Usage | null} */
  usage = null;
  /** @type {string | null} */
  finishReason = null;
  /** @type {{ id: string, type: "function", function: { name: string, arguments: string } }[]} */
  toolCalls = [];

  /**
   * @param {Chunk} chunk
   * @param {number} atMs
   */
  take({ choices, speculation, usage, metrics }, atMs) {
    if (speculation !== undefined) this.add(speculation, atMs);
    this.usage = usage ?? this.usage;
    this.metrics = metrics ?? this.metrics;
    this.finishReason = choices[0]?.finish_reason ?? this.finishReason;
    for (const call of choices[0]?.delta.tool_calls ?? []) this.#addCall(call);
  }

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

  /** @param {ToolCallDelta} delta */
  #addCall({ index, id = "", function: { name = "", arguments: text } }) {
    const call = (this.toolCalls[index] ??= { id, type: "function", function: { name, arguments: "" } });
    call.function.arguments += text;
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

  /** What the assistant said, as a message of the conversation. */
  get message() {
    const { text, toolCalls } = this;
    return toolCalls.length > 0
      ? { role: "assistant", content: null, tool_calls: toolCalls }
      : { role: "assistant", content: text };
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

/**
 * Tokens of all runs over the time that they took together, all of them sent at once.
 *
 * @param {Recording[]} runs
 */
export function commonRate(runs) {
  const tokens = runs.reduce((sum, run) => sum + run.tokens, 0);
  const endMs = Math.max(...runs.map((run) => run.blocks.at(-1)?.atMs ?? 0));
  return endMs === 0 ? null : (tokens * 1000) / endMs;
}

/** Bars of a chart of positions that are one position each, and in all. */
const SINGLE = 8;
const BARS = 11;

/**
 * Positions as a few bars: the first ones alone, deeper ones together, in groups that double.
 *
 * @param {Recording["positions"]} positions
 * @returns {{ from: number, to: number, drafted: number, accepted: number }[]} `from` and `to` count from 1
 */
export function groupPositions(positions) {
  /** @type {{ from: number, to: number, drafted: number, accepted: number }[]} */
  const groups = [];
  let size = 1;
  for (let from = 0; from < positions.length; from += size) {
    if (from >= SINGLE) size *= 2;
    // Whatever is left makes the last bar.
    /** @type {number} */
    const to = groups.length === BARS - 1 ? positions.length : Math.min(positions.length, from + size);
    const group = { from: from + 1, to, drafted: 0, accepted: 0 };
    for (const { drafted, accepted } of positions.slice(from, to)) {
      group.drafted += drafted;
      group.accepted += accepted;
    }
    groups.push(group);
    size = to - from;
  }
  return groups;
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
