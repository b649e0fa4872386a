import { SOURCES } from "../draft-tree.ts";
import type { LogProb, TokenId } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { EMPTY_STATE, type NgramModel } from "../ngram/model.ts";
import { NO_MATCH, type PromptModel, type PromptState } from "../ngram/prompt.ts";
import { GAPS_PER_NAT } from "../runners-up.ts";
import type { CopyTrust } from "./copy-trust.ts";
import type { History } from "./history.ts";
import type { PairScores } from "./pair-scores.ts";
import type { PathEnd } from "./path-end.ts";
import { exp, ln } from "./real.ts";
import type { Recycled } from "./recycled.ts";

const K = LIMITS.topK;
const COLUMNS = LIMITS.latticeHeads;
/** Tokens proposed by the prompt's n-grams beside a column's. */
const PROPOSALS = 8;
/** Beside those, tokens that the base model has thought of before. */
const RECYCLED_PROPOSALS = 5;
export const CANDIDATES = K + PROPOSALS + RECYCLED_PROPOSALS;
const LATTICE = SOURCES.indexOf("lattice");
const PROMPT = SOURCES.indexOf("prompt");
const RECYCLED_TOKEN = SOURCES.indexOf("recycled");
/** Rank of a token that its head did not list. */
export const UNLISTED = -1;
/** No evidence in the prompt: the token does not occur there. */
export const UNSEEN = -1;
/** The base model did not think of the token. */
export const NOT_RECYCLED = -1;
/** Log-probabilities below these count as these. */
const HEAD_FLOOR: LogProb = -12;
const LM_FLOOR: LogProb = -18;
const LEAST_REST = 1e-4;
/** Nats that `pair` is away from 0 at most. */
const MOST_PAIR = 6;

/**
 * What may follow a path, and all that is known of each token: the column's candidates, then those that the prompt's
 * n-grams propose, each with the evidence of heads, n-gram model and prompt. The arrays hold `count` tokens until the
 * next call; nothing is allocated after construction.
 */
export class Continuations {
  readonly model: NgramModel | null;
  readonly prompt: PromptModel | null;
  readonly recycled: Recycled | null;
  readonly pairScores: PairScores | null;
  count = 0;
  /** Whether the path ends inside the lattice. */
  inLattice = false;
  /** ln of the probability that the column's head leaves to tokens it does not list. */
  rest: LogProb = 0;
  /** Length of the longest end of the path that the prompt knows. */
  matched = 0;
  /** How far a copy after such an end was to be trusted lately, 0..1. */
  trust = 0;
  readonly tokens = new Uint32Array(CANDIDATES);
  /** Who proposed it, as an index of SOURCES. */
  readonly sources = new Uint8Array(CANDIDATES);
  /** Rank in the column, or UNLISTED. */
  readonly ranks = new Int8Array(CANDIDATES);
  readonly heads = new Float64Array(CANDIDATES);
  readonly lm = new Float64Array(CANDIDATES);
  /** log p(token) by the n-gram model, whatever is before it. */
  readonly unigrams = new Float64Array(CANDIDATES);
  /** Order of the n-gram that gave `lm`. */
  readonly lmOrder = new Uint8Array(CANDIDATES);
  readonly lmNext = new Uint32Array(CANDIDATES);
  /** Length of the longest end of the path that the token has followed, or UNSEEN. */
  readonly seenAfter = new Int8Array(CANDIDATES);
  /** How often it did, of how many tokens that followed, and whether it was the latest of them. */
  readonly seen = new Uint16Array(CANDIDATES);
  readonly outOf = new Uint16Array(CANDIDATES);
  readonly newest = new Uint8Array(CANDIDATES);
  /** Whether the token is the latest that followed the path's longest match: a copy. */
  readonly copies = new Uint8Array(CANDIDATES);
  /** By what the path's recycled row was found: nothing, its newest token, its newest two. */
  recycledBy: 0 | 1 | 2 = 0;
  /** Place in that row, or NOT_RECYCLED, and how far below the row's likeliest token, nats. */
  readonly recycledRanks = new Int8Array(CANDIDATES);
  readonly recycledGaps = new Float64Array(CANDIDATES);
  /**
   * How much better the token follows the path's newest one than the column's candidates do, weighted by what their head
   * gives them, nats; 0 where there is nothing to tell by: beyond the lattice, without a query, and in the first column,
   * whose head has read the token before it.
   */
  readonly pair = new Float64Array(CANDIDATES);

  private columns = 0;
  /** [columns * K] the lattice with repeated tokens left out; `width` of them per column */
  private readonly columnTokens = new Uint32Array(COLUMNS * K);
  private readonly columnRanks = new Uint8Array(COLUMNS * K);
  private readonly columnHeads = new Float64Array(COLUMNS * K);
  private readonly columnProbabilities = new Float64Array(COLUMNS * K);
  private readonly columnUnigrams = new Float64Array(COLUMNS * K);
  /** [K] by rank, of the column that is weighed */
  private readonly columnScores = new Float64Array(K);
  private readonly width = new Uint8Array(COLUMNS);
  private readonly rests = new Float64Array(COLUMNS);

  private readonly copyTrust: CopyTrust | null;

  constructor({ model, prompt, trust, recycled, pair }: History) {
    this.model = model;
    this.pairScores = pair;
    this.recycled = recycled;
    this.prompt = prompt;
    this.copyTrust = trust;
  }

  /** Takes the lattice that paths go through from now on. */
  begin(lattice: Lattice): void {
    const { k } = lattice;
    this.columns = lattice.heads;
    this.pairScores?.begin(lattice);
    for (let i = 0; i < lattice.heads; i++) {
      let width = 0;
      let rest = 1;
      for (let r = 0; r < k; r++) {
        const token = lattice.tokens[i * k + r]!;
        if (indexIn(this.columnTokens, i * K, width, token) >= 0) continue;
        const logProb = atLeast(lattice.logProbs[i * k + r]!, HEAD_FLOOR);
        this.columnTokens[i * K + width] = token;
        this.columnRanks[i * K + width] = r;
        this.columnUnigrams[i * K + width] = this.unigramOf(token);
        const probability = exp(logProb);
        this.columnProbabilities[i * K + width] = probability;
        this.columnHeads[i * K + width++] = logProb;
        rest -= probability;
      }
      this.width[i] = width;
      this.rests[i] = ln(rest > LEAST_REST ? rest : LEAST_REST);
    }
  }

  /** Lists what may follow a path. */
  list(end: PathEnd): void {
    const { depth } = end;
    this.inLattice = depth < this.columns;
    this.rest = this.inLattice ? this.rests[depth]! : 0;
    this.count = this.inLattice ? this.width[depth]! : 0;
    for (let c = 0; c < this.count; c++) {
      this.tokens[c] = this.columnTokens[depth * K + c]!;
      this.sources[c] = LATTICE;
      this.ranks[c] = this.columnRanks[depth * K + c]!;
      this.heads[c] = this.columnHeads[depth * K + c]!;
    }
    this.copies.fill(0);
    if (this.prompt === null) this.seenAfter.fill(UNSEEN, 0, this.count);
    else this.recall(this.prompt, end.prompt);
    if (this.recycled !== null) this.recycle(this.recycled, end);
    this.consult(end);
    if (this.pairScores !== null) this.weigh(this.pairScores, end);
  }

  /** The path one token further: the listed token `c` after `end`. */
  step(end: PathEnd, c: number): PathEnd {
    const token = this.tokens[c]!;
    return {
      depth: end.depth + 1,
      lm: this.lmNext[c]!,
      prompt: this.prompt?.follow(end.prompt, token) ?? NO_MATCH,
      token,
      before: end.token,
      rank: this.ranks[c]!,
      run: this.copies[c] === 1 ? end.run + 1 : 0,
    };
  }

  /** Adds the prompt's proposals, and its evidence for every token. */
  private recall(prompt: PromptModel, state: PromptState): void {
    const { tokens } = this;
    const listed = this.count;
    const most = listed + PROPOSALS;
    this.matched = prompt.lengthOf(state);
    this.trust = this.copyTrust?.of(this.matched) ?? 0;
    for (let context = state; context !== NO_MATCH && this.count < most; context = prompt.shorten(context)) {
      const from = this.count;
      const offered = prompt.continuations(context, tokens, from, most - from);
      for (let at = from; at < from + offered; at++) {
        const token = tokens[at]!;
        if (indexIn(tokens, 0, this.count, token) < 0) tokens[this.count++] = token;
      }
    }
    for (let c = 0; c < this.count; c++) {
      if (c >= listed) {
        this.ranks[c] = UNLISTED;
        this.sources[c] = PROMPT;
      }
      this.remember(prompt, state, c);
    }
  }

  /** The prompt's evidence for token `c`. */
  private remember(prompt: PromptModel, state: PromptState, c: number): void {
    const known = prompt.find(state, this.tokens[c]!);
    this.seenAfter[c] = known ? prompt.matched : UNSEEN;
    this.seen[c] = prompt.seen;
    this.outOf[c] = prompt.outOf;
    this.newest[c] = known && prompt.newest ? 1 : 0;
    this.copies[c] = this.matched > 0 && this.newest[c] === 1 && this.seenAfter[c] === this.matched ? 1 : 0;
  }

  /** Adds recycled tokens, and what is known of all by them. */
  private recycle(recycled: Recycled, end: PathEnd): void {
    this.recycledRanks.fill(NOT_RECYCLED);
    const known = recycled.find(end.before, end.token);
    this.recycledBy = !known ? 0 : recycled.pair ? 2 : 1;
    if (!known) return;
    const most = this.count + RECYCLED_PROPOSALS;
    for (let i = 0; i < recycled.count; i++) {
      const token = recycled.tokens[recycled.at + i]!;
      let c = indexIn(this.tokens, 0, this.count, token);
      if (c < 0) {
        if (this.count === most) continue;
        c = this.count++;
        this.tokens[c] = token;
        this.ranks[c] = UNLISTED;
        this.sources[c] = RECYCLED_TOKEN;
        if (this.prompt === null) this.seenAfter[c] = UNSEEN;
        else this.remember(this.prompt, end.prompt, c);
      }
      this.recycledRanks[c] = i;
      this.recycledGaps[c] = recycled.gaps[recycled.at + i]! / GAPS_PER_NAT;
    }
  }

  /** Adds what the n-gram model thinks of all. */
  private consult({ lm: state, depth }: PathEnd): void {
    const { model } = this;
    const listed = this.inLattice ? this.width[depth]! : 0;
    for (let c = 0; c < this.count; c++) {
      this.unigrams[c] = c < listed ? this.columnUnigrams[depth * K + c]! : this.unigramOf(this.tokens[c]!);
      this.lm[c] = model === null ? 0 : atLeast(model.score(state, this.tokens[c]!), LM_FLOOR);
      this.lmOrder[c] = model === null ? 0 : model.matched;
      this.lmNext[c] = model === null ? EMPTY_STATE : model.next;
    }
  }

  /**
   * pair(b) = S(a, b) - ln(sum over the column's candidates c of p_c exp(S(a, c)) / sum of p_c), a being the path's
   * newest token and p_c the head's probability of c.
   */
  private weigh(scores: PairScores, { depth, token: a }: PathEnd): void {
    const { pair } = this;
    if (!scores.active || !this.inLattice || depth === 0) {
      pair.fill(0, 0, this.count);
      return;
    }
    scores.after(a);
    const listed = this.width[depth]!;
    let highest = -Infinity;
    scores.scoreColumn(depth, this.columnScores, 0);
    for (let c = 0; c < listed; c++) {
      pair[c] = this.columnScores[this.ranks[c]!]!;
      if (pair[c]! > highest) highest = pair[c]!;
    }
    for (let c = listed; c < this.count; c++) pair[c] = scores.score(this.tokens[c]!);
    let mass = 0;
    let weighted = 0;
    for (let c = 0; c < listed; c++) {
      const p = this.columnProbabilities[depth * K + c]!;
      mass += p;
      weighted += p * exp(pair[c]! - highest);
    }
    const usual = highest + ln(weighted / mass);
    for (let c = 0; c < this.count; c++) pair[c] = within(pair[c]! - usual, MOST_PAIR);
  }

  private unigramOf(token: TokenId): LogProb {
    return this.model === null ? 0 : atLeast(this.model.score(EMPTY_STATE, token), LM_FLOOR);
  }
}

function indexIn(tokens: Uint32Array, from: number, count: number, token: TokenId): number {
  for (let i = from; i < from + count; i++) if (tokens[i] === token) return i;
  return -1;
}

function within(value: number, most: number): number {
  return value > -most ? (value < most ? value : most) : -most;
}

/** The floor also for NaN. */
function atLeast(logProb: LogProb, floor: LogProb): LogProb {
  return logProb > floor ? logProb : floor;
}
