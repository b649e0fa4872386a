import type { CodeRange } from "./expression.ts";

/** A range of bytes at each place of an encoded code point. */
export type ByteRanges = readonly (readonly [number, number])[];

/** UTF-8 of text; lone surrogates become U+FFFD. */
export function encodeUtf8(text: string): number[] {
  const out: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0)!;
    out.push(...encodeCodePoint(code >= 0xd800 && code <= 0xdfff ? 0xfffd : code));
  }
  return out;
}

function encodeCodePoint(code: number): number[] {
  if (code < 0x80) return [code];
  if (code < 0x800) return [0xc0 | (code >> 6), tail(code)];
  if (code < 0x10000) return [0xe0 | (code >> 12), tail(code >> 6), tail(code)];
  return [0xf0 | (code >> 18), tail(code >> 12), tail(code >> 6), tail(code)];
}

function tail(code: number): number {
  return 0x80 | (code & 0x3f);
}

/** The last code point of each length. */
const LENGTH_ENDS = [0x7f, 0x7ff, 0xffff, 0x10ffff];

/** What the encodings of a range of code points (without surrogates) are: sequences of byte ranges, none of which overlap. */
export function utf8Ranges([low, high]: CodeRange): ByteRanges[] {
  const end = LENGTH_ENDS.find((last) => low <= last)!;
  if (high > end) return [...utf8Ranges([low, end]), ...utf8Ranges([end + 1, high])];
  return sameLength(encodeCodePoint(low), encodeCodePoint(high));
}

/** Splits a range until only its last bytes vary freely. */
function sameLength(low: readonly number[], high: readonly number[]): ByteRanges[] {
  if (low.length === 1) return [[[low[0]!, high[0]!]]];
  const first = low[0]!;
  const last = high[0]!;
  const lowest = low.slice(1).map(() => 0x80);
  const highest = low.slice(1).map(() => 0xbf);
  const under = (byte: number, from: readonly number[], to: readonly number[]) =>
    sameLength(from, to).map((rest): ByteRanges => [[byte, byte], ...rest]);
  if (first === last) return under(first, low.slice(1), high.slice(1));
  const out: ByteRanges[] = [];
  const wholeLow = low.slice(1).every((byte) => byte === 0x80);
  const wholeHigh = high.slice(1).every((byte) => byte === 0xbf);
  const from = wholeLow ? first : first + 1;
  const to = wholeHigh ? last : last - 1;
  if (!wholeLow) out.push(...under(first, low.slice(1), highest));
  if (from <= to) out.push([[from, to], ...highest.map((): readonly [number, number] => [0x80, 0xbf])]);
  if (!wholeHigh) out.push(...under(last, lowest, high.slice(1)));
  return out;
}
