import { type PackShape, packLayout } from "../../shared/ngram/layout.ts";
import { filterTable, type NgramTable } from "./table.ts";

/**
 * Entropy pruning (Stolcke 1998): what dropping one n-gram alone costs in relative entropy,
 *   D = -p(h) { p(w|h) [log p(w|h') + log a'(h) - log p(w|h)] + [log a'(h) - log a(h)] (1 - sum of h's n-grams) },
 * where a is the backoff weight and a' the one after dropping. p(h) is the history's relative frequency in the
 * training text: Kneser-Ney's lower orders say how many histories a token follows, not how often it occurs
 * (Chelba et al. 2010).
 *
 * @param historyCounts [order - 1] per order, [entries] occurrences of each entry as a history
 * @returns [order] per order, [entries] the cost in nats per token; unigrams Infinity
 */
export function pruningCosts(
  table: NgramTable,
  historyCounts: readonly ArrayLike<number>[],
  tokens: number,
): Float32Array[] {
  return table.levels.map((level, n) => {
    const costs = new Float32Array(level.count).fill(Infinity);
    if (n === 0) return costs;
    const below = table.levels[n - 1]!;
    for (let h = 0; h < below.count; h++) {
      const from = below.firstChild[h]!;
      const to = below.firstChild[h + 1]!;
      let own = 0;
      let lower = 0;
      for (let i = from; i < to; i++) {
        own += Math.exp(level.logProbs[i]!);
        lower += Math.exp(below.logProbs[level.suffixes[i]!]!);
      }
      const history = historyCounts[n - 1]![h]! / tokens;
      for (let i = from; i < to; i++) {
        const p = Math.exp(level.logProbs[i]!);
        const q = Math.exp(below.logProbs[level.suffixes[i]!]!);
        const left = 1 - own;
        const logAfter = Math.log(Math.max(left + p, 1e-12) / Math.max(1 - lower + q, 1e-12));
        const change = logAfter - Math.log(Math.max(left, 1e-12) / Math.max(1 - lower, 1e-12));
        costs[i] = -history * (p * (Math.log(q) + logAfter - Math.log(p)) + change * left);
      }
    }
    return costs;
  });
}

/** Entries cheaper than `threshold` go, unless a kept longer n-gram has them as prefix or suffix. */
function keepAbove(table: NgramTable, costs: readonly Float32Array[], threshold: number): Uint8Array[] {
  const keep = costs.map((level) => {
    const flags = new Uint8Array(level.length);
    for (let i = 0; i < level.length; i++) if (level[i]! >= threshold) flags[i] = 1;
    return flags;
  });
  for (let n = table.order - 1; n > 0; n--) {
    const { parents, suffixes, count } = table.levels[n]!;
    for (let i = 0; i < count; i++) {
      if (keep[n]![i] === 0) continue;
      keep[n - 1]![parents[i]!] = 1;
      keep[n - 1]![suffixes[i]!] = 1;
    }
  }
  return keep;
}

/** Bytes of the pack holding just these entries, and all tokens of a vocabulary of which the table's may be a part. */
export function keptBytes(
  table: NgramTable,
  keep: readonly Uint8Array[],
  wholeVocabSize: number = table.vocabSize,
): number {
  const entries = keep.map(countFlags);
  const contexts = [1];
  for (let n = 0; n + 1 < table.order; n++) {
    const parents = new Uint8Array(table.levels[n]!.count);
    const above = table.levels[n + 1]!.parents;
    for (let i = 0; i < above.length; i++) parents[above[i]!]! |= keep[n + 1]![i]!;
    contexts.push(countFlags(parents));
  }
  entries[0] = wholeVocabSize;
  const shape: PackShape = { order: table.order, vocabSize: wholeVocabSize, entries, contexts };
  return packLayout(shape).fileBytes;
}

function countFlags(flags: Uint8Array): number {
  let count = 0;
  for (let i = 0; i < flags.length; i++) count += flags[i]!;
  return count;
}

/**
 * The entries to keep for the largest pack within `bytes`, by `keptBytes`: the threshold is found by bisection. Throws
 * where unigrams alone are larger.
 */
export function keepWithin(
  table: NgramTable,
  costs: readonly Float32Array[],
  bytes: number,
  wholeVocabSize: number = table.vocabSize,
): Uint8Array[] {
  const bytesOf = (keep: readonly Uint8Array[]) => keptBytes(table, keep, wholeVocabSize);
  const everything = keepAbove(table, costs, -Infinity);
  if (bytesOf(everything) <= bytes) return everything;
  const least = bytesOf(keepAbove(table, costs, Infinity));
  if (least > bytes) throw new Error(`a pack of ${bytes} bytes cannot hold the vocabulary, which alone takes ${least}`);
  let low = Math.log(1e-14);
  let high = 0;
  for (let round = 0; round < 20; round++) {
    const middle = (low + high) / 2;
    if (bytesOf(keepAbove(table, costs, Math.exp(middle))) > bytes) low = middle;
    else high = middle;
  }
  return keepAbove(table, costs, Math.exp(high));
}

/** Drops entries and recomputes every backoff weight, so that probabilities sum to 1 again. */
export function pruneTable(table: NgramTable, keep: readonly Uint8Array[]): NgramTable {
  const pruned = filterTable(table, keep);
  for (let n = 1; n < pruned.order; n++) {
    const level = pruned.levels[n]!;
    const below = pruned.levels[n - 1]!;
    for (let h = 0; h < below.count; h++) {
      let own = 0;
      let lower = 0;
      for (let i = below.firstChild[h]!; i < below.firstChild[h + 1]!; i++) {
        own += Math.exp(level.logProbs[i]!);
        lower += Math.exp(below.logProbs[level.suffixes[i]!]!);
      }
      below.logBackoffs[h] = own === 0 ? 0 : Math.log(Math.max(1 - own, 1e-12) / Math.max(1 - lower, 1e-12));
    }
  }
  return pruned;
}
