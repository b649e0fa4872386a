import { type Receipt, ReceiptBook, TOKEN_SOURCES } from "../../shared/decode/receipt.ts";
import { type DraftTree, depths } from "../../shared/draft-tree.ts";
import { ROOT, type TokenId } from "../../shared/ids.ts";
import type { Lattice } from "../../shared/lattice.ts";
import { addReliability, type Reliability } from "./reliability.ts";

/** One model call after prefill, cut to the tokens that belong to the completion. */
export interface StepRecord {
  /** Nodes submitted, and the length of the longest path among them. */
  readonly drafted: number;
  readonly depth: number;
  /** Accepted draft tokens kept: those up to the end-of-text token and the token limit. */
  readonly accepted: number;
  /** Tokens kept: accepted, and the bonus token unless the completion ended before it. */
  readonly committed: number;
}

/** Raw counts; every ratio is derived from these, so counts of several prompts may be added. */
export interface Counters {
  /** Tokens committed by steps, bonus tokens included; the token prefill yields is not among them. */
  tokens: number;
  /** Model calls after prefill. */
  steps: number;
  /** All completion tokens: `tokens` plus one per completion, from prefill. */
  outputTokens: number;
  /** Steps with at least one drafted node. */
  drafts: number;
  draftedTokens: number;
  acceptedTokens: number;
  /** [position] steps that drafted, and that kept, more than `position` tokens in depth. */
  draftedByPosition: number[];
  acceptedByPosition: number[];
  /** Neighbouring tokens within the head-by-head best path (before) and the draft's first path (after). */
  before: RepetitionCounters;
  after: RepetitionCounters;
  /** [lattice row] sum of entropies (countEntropy), nats, and the lattices summed. */
  entropySum: number[];
  entropyCount: number[];
  /** Of `tokens` and `steps`, those of copied tokens (copied.ts): each token of a step takes an equal part of it. */
  copied: { tokens: number; steps: number };
  /** Of drafts whose nodes say how likely they are. */
  reliability: Reliability;
  /** What the steps' lattices would have given (shared/decode/receipt.ts). */
  receipt: Receipt;
}

export interface RepetitionCounters {
  pairs: number;
  equalPairs: number;
  /** Longest run of one token within any single path; 0 where nothing was drafted. */
  longestRun: number;
  /** Sum over paths of each path's longest run, and the number of paths: the mean longest run. */
  runSum: number;
  paths: number;
}

export function emptyRepetition(): RepetitionCounters {
  return { pairs: 0, equalPairs: 0, longestRun: 0, runSum: 0, paths: 0 };
}

export function emptyCounters(): Counters {
  return {
    tokens: 0,
    steps: 0,
    outputTokens: 0,
    drafts: 0,
    draftedTokens: 0,
    acceptedTokens: 0,
    draftedByPosition: [],
    acceptedByPosition: [],
    before: emptyRepetition(),
    after: emptyRepetition(),
    entropySum: [],
    entropyCount: [],
    copied: { tokens: 0, steps: 0 },
    reliability: new Map(),
    receipt: new ReceiptBook().close().receipt,
  };
}

/** The record of a step that submitted `tree` and committed `committed` tokens, of which `kept` count. */
export function stepRecord(tree: DraftTree, accepted: number, kept: number): StepRecord {
  const drafted = tree.tokens.length;
  const depth = drafted === 0 ? 0 : Math.max(...depths(tree));
  return { drafted, depth, accepted: Math.min(accepted, kept), committed: Math.min(accepted + 1, kept) };
}

export function countStep(into: Counters, step: StepRecord): void {
  into.steps++;
  into.tokens += step.committed;
  into.outputTokens += step.committed;
  into.draftedTokens += step.drafted;
  into.acceptedTokens += step.accepted;
  if (step.drafted > 0) into.drafts++;
  for (let i = 0; i < step.depth; i++) into.draftedByPosition[i] = (into.draftedByPosition[i] ?? 0) + 1;
  for (let i = 0; i < step.accepted; i++) into.acceptedByPosition[i] = (into.acceptedByPosition[i] ?? 0) + 1;
}

/** @param copied of the tokens that one step committed: whether each was a copy */
export function countCopied(into: Counters, copied: readonly boolean[]): void {
  const tokens = copied.filter(Boolean).length;
  into.copied.tokens += tokens;
  if (tokens > 0) into.copied.steps += tokens / copied.length;
}

export function countRepetition(into: RepetitionCounters, path: ArrayLike<TokenId>): void {
  if (path.length === 0) return;
  let run = 1;
  let longest = 1;
  for (let i = 1; i < path.length; i++) {
    const equal = path[i] === path[i - 1];
    run = equal ? run + 1 : 1;
    longest = Math.max(longest, run);
    into.pairs++;
    if (equal) into.equalPairs++;
  }
  into.paths++;
  into.runSum += longest;
  into.longestRun = Math.max(into.longestRun, longest);
}

/**
 * Adds each row's entropy, nats: -sum p ln p over its candidates, the mass they leave out taken as one
 * further outcome. A lower bound of the head's entropy over its whole vocabulary.
 */
export function countEntropy(into: Counters, lattice: Lattice): void {
  for (let row = 0; row < lattice.heads; row++) {
    let entropy = 0;
    let rest = 1;
    for (let i = row * lattice.k; i < (row + 1) * lattice.k; i++) {
      const logProb = lattice.logProbs[i]!;
      const p = Math.exp(logProb);
      if (p > 0) entropy -= p * logProb;
      rest -= p;
    }
    if (rest > 0) entropy -= rest * Math.log(rest);
    into.entropySum[row] = (into.entropySum[row] ?? 0) + entropy;
    into.entropyCount[row] = (into.entropyCount[row] ?? 0) + 1;
  }
}

/** The draft's first path: from the root, always the earliest child, since paths merge best first. */
export function firstPath(tree: DraftTree): number[] {
  const path: number[] = [];
  let at = ROOT;
  for (let i = 0; i < tree.tokens.length; i++) {
    if (tree.parents[i] !== at) continue;
    path.push(tree.tokens[i]!);
    at = i;
  }
  return path;
}

export function addCounters(into: Counters, from: Counters): void {
  into.tokens += from.tokens;
  into.steps += from.steps;
  into.outputTokens += from.outputTokens;
  into.drafts += from.drafts;
  into.draftedTokens += from.draftedTokens;
  into.acceptedTokens += from.acceptedTokens;
  addInto(into.draftedByPosition, from.draftedByPosition);
  addInto(into.acceptedByPosition, from.acceptedByPosition);
  addRepetition(into.before, from.before);
  addRepetition(into.after, from.after);
  addInto(into.entropySum, from.entropySum);
  addInto(into.entropyCount, from.entropyCount);
  into.copied.tokens += from.copied.tokens;
  into.copied.steps += from.copied.steps;
  addReliability(into.reliability, from.reliability);
  into.receipt = addReceipts(into.receipt, from.receipt);
}

function addInto(into: number[], from: readonly number[]): void {
  for (let i = 0; i < from.length; i++) into[i] = (into[i] ?? 0) + (from[i] ?? 0);
}

function addReceipts(a: Receipt, b: Receipt): Receipt {
  const tokens = Object.fromEntries(TOKEN_SOURCES.map((source) => [source, a.tokens[source] + b.tokens[source]]));
  return {
    steps: a.steps + b.steps,
    unrefined: a.unrefined + b.unrefined,
    refined: a.refined + b.refined,
    best: a.best + b.best,
    tokens: tokens as Receipt["tokens"],
  };
}

function addRepetition(into: RepetitionCounters, from: RepetitionCounters): void {
  into.pairs += from.pairs;
  into.equalPairs += from.equalPairs;
  into.longestRun = Math.max(into.longestRun, from.longestRun);
  into.runSum += from.runSum;
  into.paths += from.paths;
}

/** Tokens committed per model call after prefill; null where there was no call. */
export function blockEfficiency(counts: { readonly tokens: number; readonly steps: number }): number | null {
  return counts.steps === 0 ? null : counts.tokens / counts.steps;
}
