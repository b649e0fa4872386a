import type { TokenId } from "../../shared/ids.ts";

/** Texts of any length, encoded no further than matters. */

type Encode = (text: string) => readonly TokenId[];

/** UTF-16 units encoded at once. */
const PIECE = 4096;

/** Tokens that a cut between two pieces adds at most to those of the whole: of a token's parts on its sides. */
const CUT = 16;

/**
 * Tokens that a text has at least. Once these are more than `enough` no more of it is read, and of a text so short that
 * encoding it is soon done nothing: what has no more than `2 * enough` units counts as none.
 */
export function leastTokens(text: string, encode: Encode, enough: number): number {
  if (text.length <= 2 * enough) return 0;
  let count = 0;
  for (let at = 0; at < text.length && count <= enough; at += PIECE) {
    count += Math.max(0, encode(text.slice(at, at + PIECE)).length - CUT);
  }
  return count;
}

/** The first `most` tokens of a text, which may differ where it is cut into pieces. */
export function firstTokens(text: string, encode: Encode, most: number): TokenId[] {
  const tokens: TokenId[] = [];
  for (let at = 0; at < text.length && tokens.length < most; at += PIECE) {
    tokens.push(...encode(text.slice(at, at + PIECE)));
  }
  return tokens.slice(0, most);
}
