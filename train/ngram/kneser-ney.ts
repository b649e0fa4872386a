import { boundaryToken, countSuffixes, type NgramCounts, tokenAt } from "./counts.ts";
import { eachPrefix, type Kept } from "./select.ts";
import { createLevel, findChildEntry, linkChildren, type NgramTable, type TableLevel } from "./table.ts";

/** Discounts of counts 1, 2 and 3 or more. */
export type Discounts = readonly [number, number, number];

/** What lmplz falls back to where counts of counts give no valid discounts. */
const FALLBACK: Discounts = [0.5, 1, 1.5];

/**
 * Every order's distinct n-grams with adjusted counts, lowest order first. The top order's are occurrences.
 * Below, an n-gram counts once for every distinct token before it (Kneser-Ney); given `kept`, a longer n-gram left
 * out of the model counts with its whole adjusted count instead, since the lower order must then predict its
 * occurrences too (Siivola, Hirsimaki, Virpioja 2007, "On Growing and Pruning Kneser-Ney Smoothed N-Gram Models").
 */
export function adjustedCounts(top: NgramCounts, kept: Kept | null): NgramCounts[] {
  const levels = [top];
  for (let level = top; level.order > 1; level = levels[0]!) {
    const flags = kept?.[level.order - 1];
    const repeats = flags ? (i: number) => (flags[i] === 1 ? 1 : level.counts[i]!) : () => 1;
    levels.unshift(countSuffixes(level, repeats));
  }
  return levels;
}

/**
 * Interpolated modified Kneser-Ney (Chen and Goodman 1998): with D by count,
 *   p(w | h) = (c(hw) - D(c(hw))) / c(h) + gamma(h) p(w | h'),
 * where gamma(h) is the mass taken by discounts and by n-grams left out of the model. Unigrams are interpolated
 * with the uniform distribution over the vocabulary, of which `vocabSize` may be a part.
 */
export function estimate(
  levels: readonly NgramCounts[],
  kept: Kept,
  vocabSize: number,
  wholeVocabSize = vocabSize,
): NgramTable {
  const boundary = boundaryToken(vocabSize);
  const table: TableLevel[] = [unigrams(levels[0]!, vocabSize, wholeVocabSize)];
  let numbers = identity(levels[0]!);
  for (let n = 1; n < levels.length; n++) {
    const counts = levels[n]!;
    const below = table[n - 1]!;
    const level = keptLevel(counts, kept[n]!, vocabSize);
    const own = new Uint32Array(counts.count);
    const prefixes = new Uint32Array(counts.count);
    let at = 0;
    eachPrefix(counts, levels[n - 1]!, boundary, (i, prefix) => {
      prefixes[i] = prefix;
      if (kept[n]![i] === 0) return;
      level.words[at] = tokenAt(counts, i, 0);
      level.parents[at] = numbers[prefix]!;
      own[i] = at++;
    });
    linkChildren(below, level.parents);
    for (let i = 0; i < level.count; i++) {
      const parent = level.parents[i]!;
      const word = level.words[i]!;
      level.suffixes[i] = n === 1 ? word : findChildEntry(table[n - 2]!, below, below.suffixes[parent]!, word);
    }
    smooth({
      counts,
      kept: kept[n]!,
      prefixes,
      prefixKept: n === 1 ? null : kept[n - 1]!,
      numbers,
      own,
      level,
      below,
      boundary,
    });
    table.push(level);
    numbers = own;
  }
  return { order: levels.length, vocabSize, levels: table };
}

/** Unigram n-gram index -> token. */
function identity(unigramCounts: NgramCounts): Uint32Array {
  return Uint32Array.from({ length: unigramCounts.count }, (_, i) => tokenAt(unigramCounts, i, 0));
}

function keptLevel(counts: NgramCounts, flags: Uint8Array, vocabSize: number): TableLevel {
  let count = 0;
  for (let i = 0; i < counts.count; i++) count += flags[i]!;
  const words = vocabSize <= 1 << 16 ? new Uint16Array(count) : new Uint32Array(count);
  return createLevel(words, new Uint32Array(count), new Uint32Array(count));
}

function unigrams(counts: NgramCounts, vocabSize: number, wholeVocabSize: number): TableLevel {
  const words = Uint16Array.from({ length: vocabSize }, (_, i) => i);
  const level = createLevel(words, new Uint32Array(0), new Uint32Array(0));
  const boundary = boundaryToken(vocabSize);
  const discounts = estimateDiscounts(counts, boundary);
  const adjusted = new Float64Array(vocabSize);
  let total = 0;
  let taken = 0;
  for (let i = 0; i < counts.count; i++) {
    const token = tokenAt(counts, i, 0);
    if (token === boundary) continue;
    const discount = discounts[Math.min(counts.counts[i]!, 3) - 1]!;
    adjusted[token] = counts.counts[i]! - discount;
    total += counts.counts[i]!;
    taken += discount;
  }
  // With nothing counted at all the model is uniform.
  const uniform = (total === 0 ? 1 : taken / total) / wholeVocabSize;
  for (let i = 0; i < vocabSize; i++) level.logProbs[i] = Math.log((total === 0 ? 0 : adjusted[i]! / total) + uniform);
  return level;
}

interface Smoothing {
  readonly counts: NgramCounts;
  readonly kept: Uint8Array;
  readonly prefixes: Uint32Array;
  /** null: every prefix is kept */
  readonly prefixKept: Uint8Array | null;
  /** prefix index -> entry of the level below; own index -> entry of this level */
  readonly numbers: Uint32Array;
  readonly own: Uint32Array;
  readonly level: TableLevel;
  readonly below: TableLevel;
  readonly boundary: number;
}

/** Fills the level's probabilities and the backoff weights of the one below, one history at a time. */
function smooth({ counts, kept, prefixes, prefixKept, numbers, own, level, below, boundary }: Smoothing): void {
  const discounts = estimateDiscounts(counts, boundary);
  const discountOf = (count: number) => discounts[Math.min(count, 3) - 1]!;
  for (let from = 0, to = 0; from < counts.count; from = to) {
    const prefix = prefixes[from]!;
    let total = 0;
    let free = 0;
    for (to = from; to < counts.count && prefixes[to] === prefix; to++) {
      const count = counts.counts[to]!;
      total += count;
      free += kept[to] === 1 ? discountOf(count) : count;
    }
    if (tokenAt(counts, from, counts.order - 1) === boundary || prefixKept?.[prefix] === 0) continue;
    const gamma = free / total;
    below.logBackoffs[numbers[prefix]!] = Math.log(gamma);
    for (let i = from; i < to; i++) {
      if (kept[i] === 0) continue;
      const entry = own[i]!;
      const count = counts.counts[i]!;
      const lower = Math.exp(below.logProbs[level.suffixes[entry]!]!);
      level.logProbs[entry] = Math.log((count - discountOf(count)) / total + gamma * lower);
    }
  }
}

/** D_k = k - (k + 1) Y n_{k+1} / n_k with Y = n_1 / (n_1 + 2 n_2), over counts of counts. */
function estimateDiscounts(counts: NgramCounts, boundary: number): Discounts {
  const n = [0, 0, 0, 0, 0];
  for (let i = 0; i < counts.count; i++) {
    const count = counts.counts[i]!;
    if (count <= 4 && tokenAt(counts, i, counts.order - 1) !== boundary) n[count]!++;
  }
  const y = n[1]! / (n[1]! + 2 * n[2]!);
  const d = [1, 2, 3].map((k) => k - ((k + 1) * y * n[k + 1]!) / n[k]!);
  const valid = d.every((value, i) => value > 0 && value <= i + 1);
  return valid ? [d[0]!, d[1]!, d[2]!] : FALLBACK;
}
