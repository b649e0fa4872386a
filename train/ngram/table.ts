/**
 * A backoff model while it is trained: a trie in breadth-first order like the pack's, unquantised. Entries of an
 * order are sorted by (parent, token); parents and suffixes are indices into the order below.
 */
export interface TableLevel {
  readonly count: number;
  /** [count] newest token */
  readonly words: Uint16Array | Uint32Array;
  /** [count] the n-gram without its newest token; empty for unigrams */
  readonly parents: Uint32Array;
  /** [count] the n-gram without its oldest token; empty for unigrams */
  readonly suffixes: Uint32Array;
  /** [count] natural log p(newest | others) */
  readonly logProbs: Float32Array;
  /** [count] natural log backoff weight; 0 for the top order */
  readonly logBackoffs: Float32Array;
  /** [count + 1] children of entry i in the order above: firstChild[i] .. firstChild[i + 1] - 1 */
  readonly firstChild: Uint32Array;
}

export interface NgramTable {
  readonly order: number;
  readonly vocabSize: number;
  /** [order] entries of order 1..order; unigram i is token i */
  readonly levels: readonly TableLevel[];
}

/** A level without probabilities yet. `parents` must not fall. */
export function createLevel(words: TableLevel["words"], parents: Uint32Array, suffixes: Uint32Array): TableLevel {
  const count = words.length;
  const logProbs = new Float32Array(count);
  return {
    count,
    words,
    parents,
    suffixes,
    logProbs,
    logBackoffs: new Float32Array(count),
    firstChild: new Uint32Array(count + 1),
  };
}

/** Fills `firstChild` of a level from the parents of the one above. */
export function linkChildren(level: TableLevel, parents: Uint32Array): void {
  const { firstChild, count } = level;
  firstChild.fill(0);
  for (let i = 0; i < parents.length; i++) firstChild[parents[i]! + 1]!++;
  for (let i = 0; i < count; i++) firstChild[i + 1]! += firstChild[i]!;
}

/** Index of `token` among the children, in `above`, of entry `parent` of `level`; -1 where there is none. */
export function findChildEntry(level: TableLevel, above: TableLevel, parent: number, token: number): number {
  let low = level.firstChild[parent]!;
  const end = level.firstChild[parent + 1]!;
  let high = end;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (above.words[middle]! < token) low = middle + 1;
    else high = middle;
  }
  return low < end && above.words[low] === token ? low : -1;
}

/** log p(token | history), for tests and export: `history` oldest first, at most order - 1 tokens. */
export function tableLogProb(table: NgramTable, history: readonly number[], token: number): number {
  const found = findEntry(table, [...history, token]);
  if (found >= 0) return table.levels[history.length]!.logProbs[found]!;
  const context = findEntry(table, history);
  const backoff = context >= 0 ? table.levels[history.length - 1]!.logBackoffs[context]! : 0;
  return backoff + tableLogProb(table, history.slice(1), token);
}

function findEntry(table: NgramTable, ngram: readonly number[]): number {
  let entry = ngram[0]!;
  for (let n = 1; n < ngram.length && entry >= 0; n++) {
    entry = findChildEntry(table.levels[n - 1]!, table.levels[n]!, entry, ngram[n]!);
  }
  return entry;
}

/**
 * The table left by dropping entries: `keep[n][i]` per order (unigrams all stay), closed under prefix and suffix.
 * Probabilities stay; backoff weights are for the caller to recompute.
 */
export function filterTable(table: NgramTable, keep: readonly Uint8Array[]): NgramTable {
  let renumbered = Uint32Array.from(table.levels[0]!.words);
  const levels = [table.levels[0]!];
  for (let n = 1; n < table.order; n++) {
    const level = table.levels[n]!;
    const kept = keep[n]!;
    let count = 0;
    for (let i = 0; i < kept.length; i++) count += kept[i]!;
    const words = level.words instanceof Uint16Array ? new Uint16Array(count) : new Uint32Array(count);
    const next = createLevel(words, new Uint32Array(count), new Uint32Array(count));
    const numbers = new Uint32Array(level.count);
    for (let i = 0, at = 0; i < level.count; i++) {
      if (kept[i] === 0) continue;
      words[at] = level.words[i]!;
      next.parents[at] = renumbered[level.parents[i]!]!;
      next.suffixes[at] = renumbered[level.suffixes[i]!]!;
      next.logProbs[at] = level.logProbs[i]!;
      next.logBackoffs[at] = level.logBackoffs[i]!;
      numbers[i] = at++;
    }
    levels.push(next);
    renumbered = numbers;
  }
  const fresh = levels.map((level, n) =>
    n === 0 ? { ...level, firstChild: new Uint32Array(level.count + 1) } : level,
  );
  for (let n = 0; n + 1 < table.order; n++) linkChildren(fresh[n]!, fresh[n + 1]!.parents);
  return { order: table.order, vocabSize: table.vocabSize, levels: fresh };
}
