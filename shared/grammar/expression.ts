/**
 * What a grammar consists of. `reference` names another rule; everything else is regular. Text is Unicode: the automaton
 * (automaton.ts) turns it into bytes of UTF-8.
 */
export type Expression =
  | { readonly kind: "literal"; readonly text: string }
  /** One code point of these ranges, both ends included; ranges rise and do not touch. */
  | { readonly kind: "class"; readonly ranges: readonly CodeRange[] }
  | { readonly kind: "sequence"; readonly parts: readonly Expression[] }
  | { readonly kind: "choice"; readonly options: readonly Expression[] }
  | { readonly kind: "repeat"; readonly of: Expression; readonly least: number; readonly most: number | null }
  | { readonly kind: "reference"; readonly rule: string };

/** Code points from the first to the second. */
export type CodeRange = readonly [number, number];

/** Rules by name; "root" is where the text begins. */
export type Grammar = ReadonlyMap<string, Expression>;

export const ROOT_RULE = "root";

/** Why a grammar, schema or pattern cannot be used; `message` is safe to show to its author. */
export class GrammarError extends Error {}

const LAST_CODE_POINT = 0x10ffff;
const SURROGATES: CodeRange = [0xd800, 0xdfff];

/** The same code points, rising and apart, without surrogates, which UTF-8 has none of. */
export function normalRanges(ranges: readonly CodeRange[]): CodeRange[] {
  const sorted = ranges.filter(([low, high]) => low <= high).toSorted((a, b) => a[0] - b[0]);
  const joined: [number, number][] = [];
  for (const [low, high] of sorted) {
    const last = joined.at(-1);
    if (last !== undefined && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else joined.push([low, high]);
  }
  return joined.flatMap(([low, high]): CodeRange[] => {
    const parts: CodeRange[] = [
      [low, Math.min(high, SURROGATES[0] - 1)],
      [Math.max(low, SURROGATES[1] + 1), high],
    ];
    return parts.filter(([from, to]) => from <= to);
  });
}

/** All code points but these. */
export function complement(ranges: readonly CodeRange[]): CodeRange[] {
  const out: CodeRange[] = [];
  let next = 0;
  for (const [low, high] of normalRanges([...ranges, SURROGATES])) {
    if (low > next) out.push([next, low - 1]);
    next = high + 1;
  }
  if (next <= LAST_CODE_POINT) out.push([next, LAST_CODE_POINT]);
  return normalRanges(out);
}
