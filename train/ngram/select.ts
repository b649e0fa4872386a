import { boundaryToken, type NgramCounts, tokenAt } from "./counts.ts";

/** Which n-grams of each order enter the model: [order - 1] flags; those of order 1 always do. */
export type Kept = readonly Uint8Array[];

/**
 * How often each n-gram occurs: its continuations summed (an occurrence that ends a document is not counted below
 * the top order). Kneser-Ney's adjusted counts say something else, so count pruning and entropy pruning use these.
 */
export function occurrences(levels: readonly NgramCounts[], vocabSize: number): Uint32Array[] {
  const out = levels.map((level) => new Uint32Array(level.count));
  out[levels.length - 1]!.set(levels.at(-1)!.counts);
  for (let n = levels.length - 1; n > 0; n--) {
    const below = levels[n - 1]!;
    eachPrefix(levels[n]!, below, boundaryToken(vocabSize), (i, prefix) => {
      out[n - 1]![prefix]! += out[n]![i]!;
    });
  }
  return out;
}

/** Calls `visit(i, index of its prefix)` for each n-gram of `level`, in order; not for those led by the boundary, which sort last. */
export function eachPrefix(
  level: NgramCounts,
  below: NgramCounts,
  boundary: number,
  visit: (i: number, prefix: number) => void,
): void {
  const { keys, order } = level;
  let prefix = 0;
  for (let i = 0; i < level.count && tokenAt(level, i, order - 1) !== boundary; i++) {
    const low = ((keys[2 * i]! >>> 16) | (keys[2 * i + 1]! << 16)) >>> 0;
    const high = keys[2 * i + 1]! >>> 16;
    while (below.keys[2 * prefix] !== low || below.keys[2 * prefix + 1] !== high) prefix++;
    visit(i, prefix);
  }
}

/** Keeps n-grams of order n occurring more than `thresholds[n - 1]` times, and what they rest on. */
export function selectByCount(
  levels: readonly NgramCounts[],
  occurred: readonly Uint32Array[],
  thresholds: readonly number[],
  vocabSize: number,
): Kept {
  const boundary = boundaryToken(vocabSize);
  const kept = levels.map((level, n) => {
    const flags = new Uint8Array(level.count);
    for (let i = 0; i < level.count; i++) {
      if (occurred[n]![i]! > thresholds[n]! && tokenAt(level, i, n) !== boundary) flags[i] = 1;
    }
    return flags;
  });
  for (let n = levels.length - 1; n > 0; n--) {
    const below = levels[n - 1]!;
    const find = suffixFinder(below);
    eachPrefix(levels[n]!, below, boundary, (i, prefix) => {
      if (kept[n]![i] === 0) return;
      kept[n - 1]![prefix] = 1;
      kept[n - 1]![find(levels[n]!, i)] = 1;
    });
  }
  return kept;
}

/** Finds the index in `below` of an n-gram without its oldest token. */
function suffixFinder(below: NgramCounts): (level: NgramCounts, i: number) => number {
  const { keys, order } = below;
  const firstOf = new Uint32Array(65537);
  for (let i = 0; i < below.count; i++) firstOf[tokenAt(below, i, order - 1) + 1]!++;
  for (let token = 0; token < 65536; token++) firstOf[token + 1]! += firstOf[token]!;
  const lowMask = order === 1 ? 0xffff : 0xffffffff;
  const highMask = order === 3 ? 0xffff : 0;
  return (level, i) => {
    const low = (level.keys[2 * i]! & lowMask) >>> 0;
    const high = level.keys[2 * i + 1]! & highMask;
    const oldest = tokenAt(level, i, order - 1);
    let from = firstOf[oldest]!;
    let to = firstOf[oldest + 1]!;
    while (from < to) {
      const middle = (from + to) >>> 1;
      const there = keys[2 * middle + 1]!;
      if (there < high || (there === high && keys[2 * middle]! < low)) from = middle + 1;
      else to = middle;
    }
    return from;
  };
}
