import { readFileSync } from "node:fs";

/**
 * Token ids of documents, each followed by a separator; two in a row end an input file. They have 16 bits (`.u16`), or
 * 32 (`.u32`) where the vocabulary is too large for that.
 */
export type Tokens = Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** Of 16-bit ids. */
export const SEPARATOR = 0xffff;
const WIDE_SEPARATOR = 0xffffffff;

/** Whether ids of this vocabulary need more than 16 bits. */
export function isWide(vocabSize: number): boolean {
  return vocabSize >= SEPARATOR;
}

export function separatorOf(tokens: Tokens): number {
  return tokens instanceof Uint16Array ? SEPARATOR : WIDE_SEPARATOR;
}

/** One input file's documents. */
export function tokensOf(documents: Iterable<ArrayLike<number>>, vocabSize: number): Tokens {
  const separator = isWide(vocabSize) ? WIDE_SEPARATOR : SEPARATOR;
  const ids: number[] = [];
  for (const document of documents) {
    for (let i = 0; i < document.length; i++) ids.push(document[i]!);
    ids.push(separator);
  }
  return isWide(vocabSize) ? Uint32Array.from(ids) : Uint16Array.from(ids);
}

/** Which documents of an input file to read, by their number in it: those equal to `keep` modulo `modulus`, or the others. */
export interface Split {
  readonly modulus: number;
  readonly remainder: number;
  /** "only" reads the held-out documents, "without" all but them. */
  readonly part: "only" | "without";
}

export interface TokenSource {
  readonly tokens: Tokens;
  /** How often its n-grams count. */
  readonly weight: number;
  readonly split: Split | null;
}

/** Of a `.u16` or `.u32` file. Throws Error where it holds no whole number of ids. */
export function readTokenFile(path: string): Tokens {
  const bytes = readFileSync(path);
  const width = path.endsWith(".u32") ? 4 : 2;
  if (bytes.length % width !== 0) {
    throw new Error(`${path}: ${bytes.length} bytes is not a whole number of uint${8 * width} ids`);
  }
  const own = new Uint8Array(bytes).buffer;
  return width === 4 ? new Uint32Array(own) : new Uint16Array(own);
}

/** "7:50" -> documents whose number is 7 modulo 50. */
export function parseSplit(text: string, part: Split["part"]): Split {
  const match = /^(\d+):([1-9]\d*)$/.exec(text);
  if (!match) throw new Error(`split ${text}: expected REMAINDER:MODULUS, e.g. 7:50`);
  return { remainder: Number(match[1]), modulus: Number(match[2]), part };
}

/** Calls `visit(start, end)` for every document of the split that holds tokens. */
export function eachDocument({ tokens, split }: TokenSource, visit: (start: number, end: number) => void): void {
  const separator = separatorOf(tokens);
  let start = 0;
  let number = 0;
  for (let i = 0; i <= tokens.length; i++) {
    if (i < tokens.length && tokens[i] !== separator) continue;
    const held = split !== null && number % split.modulus === split.remainder;
    if (i > start && (split === null || held === (split.part === "only"))) visit(start, i);
    // An empty document ends an input file: documents are numbered within theirs.
    number = i > start ? number + 1 : 0;
    start = i + 1;
  }
}

export function countTokens(sources: readonly TokenSource[]): number {
  let count = 0;
  for (const source of sources) {
    eachDocument(source, (start, end) => {
      count += source.weight * (end - start);
    });
  }
  return count;
}
