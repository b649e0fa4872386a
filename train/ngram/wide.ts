import { createLevel, linkChildren, type NgramTable, type TableLevel } from "./table.ts";
import { eachDocument, SEPARATOR, type TokenSource } from "./token-file.ts";

/** Counting packs four tokens of 16 bits into a key (counts.ts); one value stands before documents, one ends them. */
const MOST_TOKENS = SEPARATOR - 1;

export interface Renumbered {
  /** Sources of 16-bit numbers; number i is token tokens[i]. */
  readonly sources: readonly TokenSource[];
  /** Rising, so that n-grams sort by either. At least one of them is in no source. */
  readonly tokens: Uint32Array;
}

/**
 * The tokens of a large vocabulary that occur, numbered without gaps. Should more occur than there are numbers, the most
 * frequent have one, and the others end a document: what they stand in is rare.
 */
export function renumber(sources: readonly TokenSource[], vocabSize: number): Renumbered {
  const counts = new Uint32Array(vocabSize);
  for (const source of sources) {
    eachDocument(source, (start, end) => {
      for (let i = start; i < end; i++) {
        const token = source.tokens[i]!;
        if (token >= vocabSize) throw new Error(`token ${token} outside the vocabulary of ${vocabSize}`);
        counts[token]! += source.weight;
      }
    });
  }
  const seen = [...counts.keys()]
    .filter((token) => counts[token]! > 0)
    .sort((a, b) => counts[b]! - counts[a]! || a - b);
  const numbered = seen.slice(0, MOST_TOKENS - 1);
  const taken = new Set(numbered);
  // Its probability is that of every token without a number.
  const unseen = counts.keys().find((token) => !taken.has(token));
  const tokens = Uint32Array.from(unseen === undefined ? numbered : [...numbered, unseen]).sort();
  const numbers = new Uint16Array(vocabSize).fill(SEPARATOR);
  for (const [number, token] of tokens.entries()) if (taken.has(token)) numbers[token] = number;
  return { sources: sources.map((source) => narrow(source, numbers)), tokens };
}

/** The documents that are read, in numbers. */
function narrow(source: TokenSource, numbers: Uint16Array): TokenSource {
  let length = 0;
  eachDocument(source, (start, end) => {
    length += end - start + 1;
  });
  const tokens = new Uint16Array(length);
  let at = 0;
  eachDocument(source, (start, end) => {
    for (let i = start; i < end; i++) tokens[at++] = numbers[source.tokens[i]!]!;
    tokens[at++] = SEPARATOR;
  });
  return { tokens, weight: source.weight, split: null };
}

/** A table of numbers as one of tokens, over the whole vocabulary. */
export function widen(table: NgramTable, tokens: Uint32Array, vocabSize: number): NgramTable {
  const numbered = new Set(tokens);
  const none = new Uint32Array(0);
  const unigrams = createLevel(
    Uint32Array.from({ length: vocabSize }, (_, token) => token),
    none,
    none,
  );
  const own = table.levels[0]!;
  // Of the token that is in no source: the least there is.
  const rest = own.logProbs.reduce((least, value) => Math.min(least, value), 0);
  for (let token = 0; token < vocabSize; token++) if (!numbered.has(token)) unigrams.logProbs[token] = rest;
  for (const [number, token] of tokens.entries()) {
    unigrams.logProbs[token] = own.logProbs[number]!;
    unigrams.logBackoffs[token] = own.logBackoffs[number]!;
  }
  const byToken = (numbers: ArrayLike<number>) => Uint32Array.from(numbers, (number) => tokens[number]!);
  const levels = table.levels.slice(1).map((level, n): TableLevel => {
    const words = byToken(level.words);
    return n > 0
      ? { ...level, words }
      : { ...level, words, parents: byToken(level.parents), suffixes: byToken(level.suffixes) };
  });
  if (levels[0] !== undefined) linkChildren(unigrams, levels[0].parents);
  return { order: table.order, vocabSize, levels: [unigrams, ...levels] };
}
