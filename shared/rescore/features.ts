import { type Continuations, NOT_RECYCLED, UNLISTED, UNSEEN } from "./continuations.ts";
import { COMMITTED, type PathEnd } from "./path-end.ts";
import { ln } from "./real.ts";
import { RECYCLED } from "./recycled.ts";

/**
 * What a token's calibrated score is a weighted sum of. Every block below is a run of weights, one for each value of
 * an index; a token's features are a handful of (weight, value) pairs. Depth counts from 0, deeper columns share.
 */
const DEPTHS = 9;
const MATCHES = 8;
const ORDERS = 6;
/** Matched lengths 0, 1, 2-3, 4-7. */
const MATCH_GROUPS = 4;
const GROUP_OF_MATCH = Uint8Array.of(0, 1, 2, 2, 3, 3, 3, 3);
/** The path's newest token: committed, likeliest of its column, ranks 1-3, lower, unlisted. */
const PARENTS = 5;
const MOST_SEEN = 16;
/** Copies in a row: 0, 1, 2, 3-4, 5-8, 9-16, 17-32, more. */
const RUNS = 8;
/** Most features of an outcome. */
const MOST = 32;
/** Products of log-probabilities are divided by this: about the size of the others, so that the penalty weighs them alike. */
const PRODUCT = 8;

/** Name -> number of weights, in the order of the weights. */
const BLOCKS = {
  listed: DEPTHS,
  listedHead: DEPTHS,
  likeliest: DEPTHS,
  unlisted: DEPTHS,
  listedLm: DEPTHS,
  unlistedLm: 1,
  lmOrder: ORDERS,
  listedSeen: MATCHES,
  unlistedSeen: MATCHES,
  share: MATCH_GROUPS,
  times: MATCH_GROUPS,
  newest: MATCH_GROUPS,
  trust: MATCHES,
  run: RUNS,
  parentListed: PARENTS,
  parentHead: PARENTS,
  parentLm: PARENTS,
  repeats: 1,
  otherDepth: DEPTHS,
  otherRest: DEPTHS,
  otherMatch: MATCHES,
  otherParent: PARENTS,
  recycledListed: 2 * RECYCLED,
  recycledUnlisted: 2 * RECYCLED,
  recycledGap: 2,
  recycledCopy: 2,
  otherRecycled: 3,
  headSquared: DEPTHS,
  headLm: DEPTHS,
  listedUnigram: DEPTHS,
  unlistedUnigram: 1,
  lmSquared: 1,
  seenHead: MATCHES,
  copy: DEPTHS,
  runTrust: RUNS,
  pairListed: DEPTHS,
  pairUnlisted: 1,
  pairHead: DEPTHS,
  pairSquared: 1,
  pairLm: 1,
  pairParent: PARENTS,
  pairSeen: MATCHES,
  pairCopy: 1,
} as const;

type Block = keyof typeof BLOCKS;

/** First weight of each block. */
const AT = Object.fromEntries(
  Object.keys(BLOCKS).map((name, i, names) => [
    name,
    names.slice(0, i).reduce((sum, before) => sum + BLOCKS[before as Block], 0),
  ]),
) as Record<Block, number>;

export const WEIGHTS = Object.values(BLOCKS).reduce((sum, size) => sum + size, 0);

/** One outcome's features: `count` pairs of a weight's index and the value it is multiplied by. */
export class Features {
  count = 0;
  readonly ids = new Uint16Array(MOST);
  readonly values = new Float64Array(MOST);

  /** Token `c` of `after`, which continues `end`. */
  describe(after: Continuations, c: number, end: PathEnd): void {
    this.count = 0;
    const depth = depthIndex(after, end);
    const parent = parentIndex(end);
    const head = after.heads[c]!;
    const listed = after.ranks[c] !== UNLISTED;
    if (listed) {
      this.add(AT.listed + depth, 1);
      this.add(AT.listedHead + depth, head);
      this.add(AT.headSquared + depth, (head * head) / PRODUCT);
      this.add(AT.parentListed + parent, 1);
      this.add(AT.parentHead + parent, head);
      if (after.ranks[c] === 0) this.add(AT.likeliest + depth, 1);
    } else this.add(AT.unlisted + depth, 1);
    if (after.model !== null) this.describeLm(after, c, depth, parent);
    if (after.tokens[c] === end.token) this.add(AT.repeats, 1);
    if (after.recycled !== null) this.describeRecycled(after, c, listed);
    if (after.seenAfter[c] !== UNSEEN) this.describeSeen(after, c, depth, end);
    if (after.pairScores !== null && after.pair[c] !== 0) this.describePair(after, c, depth, parent);
  }

  private describeLm(after: Continuations, c: number, depth: number, parent: number): void {
    const lm = after.lm[c]!;
    if (after.ranks[c] !== UNLISTED) {
      this.add(AT.listedLm + depth, lm);
      this.add(AT.headLm + depth, (after.heads[c]! * lm) / PRODUCT);
      this.add(AT.listedUnigram + depth, after.unigrams[c]!);
    } else {
      this.add(AT.unlistedLm, lm);
      this.add(AT.unlistedUnigram, after.unigrams[c]!);
    }
    this.add(AT.lmSquared, (lm * lm) / PRODUCT);
    this.add(AT.lmOrder + after.lmOrder[c]!, 1);
    this.add(AT.parentLm + parent, lm);
  }

  /** Of a token that the prompt has. */
  private describeSeen(after: Continuations, c: number, depth: number, end: PathEnd): void {
    const listed = after.ranks[c] !== UNLISTED;
    const matched = after.seenAfter[c]!;
    const group = GROUP_OF_MATCH[matched]!;
    const seen = after.seen[c]!;
    this.add((listed ? AT.listedSeen : AT.unlistedSeen) + matched, 1);
    if (listed) this.add(AT.seenHead + matched, after.heads[c]!);
    this.add(AT.share + group, ln(seen / after.outOf[c]!));
    this.add(AT.times + group, ln(seen < MOST_SEEN ? seen : MOST_SEEN));
    if (after.newest[c] === 1) this.add(AT.newest + group, 1);
    if (after.copies[c] === 0) return;
    const trust = logOdds(after.trust);
    const run = runIndex(end);
    this.add(AT.copy + depth, 1);
    this.add(AT.trust + matched, trust);
    this.add(AT.run + run, 1);
    this.add(AT.runTrust + run, trust);
  }

  private describeRecycled(after: Continuations, c: number, listed: boolean): void {
    const rank = after.recycledRanks[c]!;
    if (after.recycledBy === 0 || rank === NOT_RECYCLED) return;
    const pair = after.recycledBy - 1;
    this.add((listed ? AT.recycledListed : AT.recycledUnlisted) + pair * RECYCLED + rank, 1);
    this.add(AT.recycledGap + pair, after.recycledGaps[c]!);
    if (after.seenAfter[c] !== UNSEEN) this.add(AT.recycledCopy + pair, 1);
  }

  /** Of a token that the newest one says something of. */
  private describePair(after: Continuations, c: number, depth: number, parent: number): void {
    const pair = after.pair[c]!;
    if (after.ranks[c] !== UNLISTED) {
      this.add(AT.pairListed + depth, pair);
      this.add(AT.pairHead + depth, (pair * after.heads[c]!) / PRODUCT);
    } else this.add(AT.pairUnlisted, pair);
    this.add(AT.pairSquared, (pair * pair) / PRODUCT);
    if (after.model !== null) this.add(AT.pairLm, (pair * after.lm[c]!) / PRODUCT);
    this.add(AT.pairParent + parent, pair);
    if (after.seenAfter[c] !== UNSEEN) this.add(AT.pairSeen + after.seenAfter[c]!, pair);
    if (after.copies[c] === 1) this.add(AT.pairCopy, pair);
  }

  /** The outcome that the next token is none of those listed. */
  describeOther(after: Continuations, end: PathEnd): void {
    this.count = 0;
    const depth = depthIndex(after, end);
    this.add(AT.otherDepth + depth, 1);
    this.add(AT.otherParent + parentIndex(end), 1);
    if (after.inLattice) this.add(AT.otherRest + depth, after.rest);
    if (after.prompt !== null) this.add(AT.otherMatch + after.matched, 1);
    if (after.recycled !== null) this.add(AT.otherRecycled + after.recycledBy, 1);
  }

  score(weights: Float64Array): number {
    let sum = 0;
    for (let i = 0; i < this.count; i++) sum += weights[this.ids[i]!]! * this.values[i]!;
    return sum;
  }

  private add(id: number, value: number): void {
    this.ids[this.count] = id;
    this.values[this.count++] = value;
  }
}

function runIndex({ run }: PathEnd): number {
  let index = 0;
  for (let most = 0; run > most && index < RUNS - 1; most = most === 0 ? 1 : 2 * most) index++;
  return index;
}

/** `p` is neither 0 nor 1: a prior keeps it off them. */
function logOdds(p: number): number {
  return ln(p / (1 - p));
}

/** Columns beyond the heads share the last index. */
function depthIndex(after: Continuations, { depth }: PathEnd): number {
  return after.inLattice && depth < DEPTHS - 2 ? depth : after.inLattice ? DEPTHS - 2 : DEPTHS - 1;
}

function parentIndex({ rank }: PathEnd): number {
  if (rank === COMMITTED) return 0;
  if (rank === UNLISTED) return PARENTS - 1;
  return rank === 0 ? 1 : rank < 4 ? 2 : 3;
}
