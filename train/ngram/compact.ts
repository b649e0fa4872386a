import { createLevel, type NgramTable, type TableLevel } from "./table.ts";
import { countTokens, eachDocument, SEPARATOR, type TokenSource } from "./token-file.ts";

/** Ids left for tokens: one more stands for those that no text holds, one for the boundary of documents. */
const MOST_TOKENS = SEPARATOR - 2;

/** The part of a large vocabulary that texts use, numbered anew. */
export interface Compacted {
  /** The texts in the new ids, documents that are held out left out. */
  readonly sources: readonly TokenSource[];
  /** [n] token of each id, rising, so that what is sorted stays sorted. */
  readonly tokens: Uint32Array;
}

/**
 * Texts over a vocabulary whose ids need more than 16 bits, in ids that do not. Of more tokens than have room the
 * commonest are kept; where another one stands, a document ends.
 */
export function compact(sources: readonly TokenSource[], vocabSize: number, most: number = MOST_TOKENS): Compacted {
  const occurrences = new Uint32Array(vocabSize);
  for (const source of sources) {
    eachDocument(source, (start, end) => {
      for (let i = start; i < end; i++) {
        const token = source.tokens[i]!;
        if (token >= vocabSize) throw new Error(`token ${token} outside the vocabulary of ${vocabSize}`);
        occurrences[token]! += source.weight;
      }
    });
  }
  const used = [...occurrences.keys()].filter((token) => occurrences[token]! > 0);
  const kept = used.toSorted((a, b) => occurrences[b]! - occurrences[a]! || a - b).slice(0, most);
  const tokens = Uint32Array.from(kept).sort();
  const idOf = new Uint16Array(vocabSize).fill(SEPARATOR);
  tokens.forEach((token, id) => {
    idOf[token] = id;
  });
  return { tokens, sources: sources.map((source) => renumbered(source, idOf)) };
}

function renumbered(source: TokenSource, idOf: Uint16Array): TokenSource {
  let documents = 0;
  eachDocument(source, () => documents++);
  const own = { ...source, weight: 1 };
  const ids = new Uint16Array(countTokens([own]) + documents);
  let at = 0;
  eachDocument(source, (start, end) => {
    for (let i = start; i < end; i++) ids[at++] = idOf[source.tokens[i]!]!;
    ids[at++] = SEPARATOR;
  });
  return { tokens: ids, weight: source.weight, split: null };
}

/**
 * A table over the ids of `compact` as one over the whole vocabulary. Its last unigram, an id that no text holds,
 * stands for all tokens without one.
 */
export function expand(table: NgramTable, tokens: Uint32Array, vocabSize: number): NgramTable {
  const [unigrams, ...longer] = table.levels;
  const levels = longer.map((level, i): TableLevel => {
    const words = level.words.length === 0 ? new Uint32Array(0) : Uint32Array.from(level.words, (id) => tokens[id]!);
    if (i > 0) return { ...level, words };
    const toToken = (numbers: Uint32Array) => numbers.map((id) => tokens[id]!);
    return { ...level, words, parents: toToken(level.parents), suffixes: toToken(level.suffixes) };
  });
  return { order: table.order, vocabSize, levels: [allUnigrams(unigrams!, tokens, vocabSize), ...levels] };
}

function allUnigrams(own: TableLevel, tokens: Uint32Array, vocabSize: number): TableLevel {
  const words = Uint32Array.from({ length: vocabSize }, (_, token) => token);
  const all = createLevel(words, new Uint32Array(0), new Uint32Array(0));
  const unseen = own.count - 1;
  for (let token = 0, id = 0; token < vocabSize; token++) {
    const seen = tokens[id] === token;
    all.logProbs[token] = own.logProbs[seen ? id : unseen]!;
    all.logBackoffs[token] = seen ? own.logBackoffs[id]! : 0;
    if (seen) id++;
    all.firstChild[token + 1] = own.firstChild[id]!;
  }
  return all;
}
