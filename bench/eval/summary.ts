import { type Counts, efficiencyInterval, gainInterval, type Interval } from "./bootstrap.ts";
import { addCounters, blockEfficiency, emptyCounters, type RepetitionCounters } from "./counters.ts";
import { lastRisingHead, meanEntropies } from "./entropy.ts";
import type { RowResult } from "./evaluate.ts";

/** One method over one set of prompts, as printed. */
export interface MethodSummary {
  readonly block_efficiency: number | null;
  readonly block_efficiency_ci95: Interval | null;
  /** block_efficiency over that of `none`, minus 1; null without `none`. */
  readonly gain_over_none: number | null;
  readonly gain_over_none_ci95: Interval | null;
  /** Committed by steps, bonus tokens included. */
  readonly tokens: number;
  /** Model calls after prefill. */
  readonly steps: number;
  readonly prompts: number;
  /** Answers: more than `prompts` where rows have several turns. */
  readonly completions: number;
  readonly identical_to_plain: number;
  /** Answers that differ because two logits are equal up to rounding. */
  readonly float_ties: number;
  readonly output_tokens: number;
  /** Decoding after each answer's first token; null where no model ran. */
  readonly tokens_per_s: number | null;
  readonly drafts: number;
  readonly drafted_tokens: number;
  readonly accepted_tokens: number;
  readonly drafted_by_position: readonly number[];
  readonly accepted_by_position: readonly number[];
  readonly repetition: { readonly before: RepetitionSummary | null; readonly after: RepetitionSummary | null };
  /** Of the tokens that end an earlier 8-gram, and of all others (copied.ts). */
  readonly copied: PartSummary;
  readonly fresh: PartSummary;
  /** [lattice row] mean, nats; candidates only, so a lower bound. */
  readonly head_entropy_nats: readonly number[];
  /** The last head up to which mean entropy rises from head to head (lastRisingHead); null without lattices. */
  readonly h_max: number | null;
}

/** Some of the tokens, with their parts of the steps that committed them. */
export interface PartSummary {
  readonly tokens: number;
  readonly block_efficiency: number | null;
}

export interface RepetitionSummary {
  /** Equal neighbours / neighbours within the drafted path. */
  readonly rate: number;
  readonly mean_longest_run: number;
  readonly longest_run: number;
}

export interface EvalSummary {
  readonly overall: Readonly<Record<string, MethodSummary>>;
  readonly categories: Readonly<Record<string, Readonly<Record<string, MethodSummary>>>>;
}

export function summarise(rows: readonly RowResult[], methods: readonly string[], seed: number): EvalSummary {
  const byCategory = new Map<string, RowResult[]>();
  for (const row of rows) {
    const group = byCategory.get(row.category);
    if (group === undefined) byCategory.set(row.category, [row]);
    else group.push(row);
  }
  const categories = [...byCategory].map(([name, group]) => [name, summariseGroup(group, methods, seed)] as const);
  return { overall: summariseGroup(rows, methods, seed), categories: Object.fromEntries(categories) };
}

function summariseGroup(
  rows: readonly RowResult[],
  methods: readonly string[],
  seed: number,
): Record<string, MethodSummary> {
  return Object.fromEntries(methods.map((method) => [method, summariseMethod(rows, method, seed)]));
}

function summariseMethod(rows: readonly RowResult[], method: string, seed: number): MethodSummary {
  const total = emptyCounters();
  const results = rows.flatMap((row) => row.methods.get(method) ?? []);
  for (const result of results) addCounters(total, result.counters);
  const decodeMs = results.reduce((ms, result) => ms + result.decodeMs, 0);
  const counts = countsOf(rows, method);
  const base = countsOf(rows, "none");
  const efficiency = blockEfficiency(total);
  const baseEfficiency = blockEfficiency(sum(base));
  const comparable =
    method !== "none" && base.length === counts.length && efficiency !== null && baseEfficiency !== null;
  const entropies = meanEntropies(total);
  const ties = results.flatMap((result) => result.differences).filter((difference) => difference.floatTie);
  return {
    block_efficiency: efficiency,
    block_efficiency_ci95: efficiencyInterval(counts, seed),
    gain_over_none: comparable ? efficiency / baseEfficiency - 1 : null,
    gain_over_none_ci95: comparable ? gainInterval(counts, base, seed) : null,
    tokens: total.tokens,
    steps: total.steps,
    prompts: results.length,
    completions: rows.reduce((turns, row) => turns + row.turns, 0),
    identical_to_plain: results.filter((result) => result.identical).length,
    float_ties: ties.length,
    output_tokens: total.outputTokens,
    tokens_per_s: decodeMs === 0 ? null : (1000 * total.tokens) / decodeMs,
    drafts: total.drafts,
    drafted_tokens: total.draftedTokens,
    accepted_tokens: total.acceptedTokens,
    drafted_by_position: total.draftedByPosition,
    accepted_by_position: total.acceptedByPosition,
    repetition: { before: repetition(total.before), after: repetition(total.after) },
    copied: part(total.copied),
    fresh: part({ tokens: total.tokens - total.copied.tokens, steps: total.steps - total.copied.steps }),
    head_entropy_nats: entropies,
    h_max: entropies.length === 0 ? null : lastRisingHead(entropies),
  };
}

function part(counts: Counts): PartSummary {
  return { tokens: counts.tokens, block_efficiency: blockEfficiency(counts) };
}

function countsOf(rows: readonly RowResult[], method: string): Counts[] {
  return rows.flatMap((row) => row.methods.get(method)?.counters ?? []);
}

function sum(counts: readonly Counts[]): Counts {
  return counts.reduce((a, b) => ({ tokens: a.tokens + b.tokens, steps: a.steps + b.steps }), { tokens: 0, steps: 0 });
}

function repetition(counts: RepetitionCounters): RepetitionSummary | null {
  if (counts.paths === 0) return null;
  return {
    rate: counts.pairs === 0 ? 0 : counts.equalPairs / counts.pairs,
    mean_longest_run: counts.runSum / counts.paths,
    longest_run: counts.longestRun,
  };
}

/** Block efficiency with its interval, one line per category and method, for people. */
export function formatTable(summary: EvalSummary): string {
  const header = [
    "category",
    "method",
    "block eff.",
    "95 % interval",
    "vs none",
    "tokens",
    "steps",
    "prompts",
    "identical",
  ];
  const lines = [header];
  for (const [category, methods] of [...Object.entries(summary.categories), ["overall", summary.overall] as const]) {
    for (const [method, m] of Object.entries(methods)) {
      lines.push([
        category,
        method,
        m.block_efficiency?.toFixed(3) ?? "-",
        m.block_efficiency_ci95?.map((x) => x.toFixed(3)).join(" .. ") ?? "-",
        m.gain_over_none === null ? "" : `${m.gain_over_none < 0 ? "" : "+"}${(100 * m.gain_over_none).toFixed(1)} %`,
        String(m.tokens),
        String(m.steps),
        String(m.prompts),
        `${m.identical_to_plain}${m.float_ties > 0 ? ` (${m.float_ties} ties)` : ""}`,
      ]);
    }
  }
  return alignColumns(lines);
}

/** Text columns left-aligned (the first two), numbers right-aligned. */
export function alignColumns(lines: readonly (readonly string[])[], leftColumns = 2): string {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const padded = lines.map((line) =>
    line.map((cell, column) => (column < leftColumns ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))),
  );
  return padded.map((line) => line.join("  ").trimEnd()).join("\n");
}
