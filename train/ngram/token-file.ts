import { readFileSync } from "node:fs";

/** Token files (`.u16`) hold uint16 ids; this one ends a document. Two in a row end an input file. */
export const SEPARATOR = 65535;

/** Which documents of an input file to read, by their number in it: those equal to `keep` modulo `modulus`, or the others. */
export interface Split {
  readonly modulus: number;
  readonly remainder: number;
  /** "only" reads the held-out documents, "without" all but them. */
  readonly part: "only" | "without";
}

export interface TokenSource {
  readonly tokens: Uint16Array;
  /** How often its n-grams count. */
  readonly weight: number;
  readonly split: Split | null;
}

export function readTokenFile(path: string): Uint16Array {
  const bytes = readFileSync(path);
  if (bytes.length % 2 !== 0) throw new Error(`${path}: ${bytes.length} bytes is not a whole number of uint16 ids`);
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
}

/** "7:50" -> documents whose number is 7 modulo 50. */
export function parseSplit(text: string, part: Split["part"]): Split {
  const match = /^(\d+):([1-9]\d*)$/.exec(text);
  if (!match) throw new Error(`split ${text}: expected REMAINDER:MODULUS, e.g. 7:50`);
  return { remainder: Number(match[1]), modulus: Number(match[2]), part };
}

/** Calls `visit(start, end)` for every document of the split that holds tokens. */
export function eachDocument({ tokens, split }: TokenSource, visit: (start: number, end: number) => void): void {
  let start = 0;
  let number = 0;
  for (let i = 0; i <= tokens.length; i++) {
    if (i < tokens.length && tokens[i] !== SEPARATOR) continue;
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
