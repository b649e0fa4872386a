import { type CodeRange, complement, type Expression, normalRanges } from "../../shared/grammar/expression.ts";
import type { Pattern } from "./regex.ts";
import { characterClass, choice, literal, repeat, sequence } from "./rules.ts";

/** How single code points are written: as they are, or within a string of JSON. */
export interface Spelling {
  /** The body of one code point of these ranges. */
  characters(ranges: readonly CodeRange[]): string;
  text(text: string): string;
}

export const PLAIN: Spelling = { characters: characterClass, text: literal };

const SHORT_ESCAPES: Readonly<Record<number, string>> = {
  8: "\\b",
  9: "\\t",
  10: "\\n",
  12: "\\f",
  13: "\\r",
  34: '\\"',
  92: "\\\\",
};
/** Characters that do not stand for themselves in a string of JSON. */
const ESCAPED: readonly CodeRange[] = [
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
  [0x7f, 0x7f],
];

/** Each code point in one way: with the shortest escape sequence where it needs one. */
export const IN_JSON: Spelling = {
  characters(ranges) {
    const plain = intersection(ranges, complement(ESCAPED));
    const escapes = intersection(ranges, ESCAPED).flatMap(([low, high]) =>
      Array.from({ length: high - low + 1 }, (_, i) => literal(jsonEscape(low + i))),
    );
    const options = [...(plain.length > 0 ? [characterClass(plain)] : []), ...escapes];
    return options.length === 0 ? characterClass([]) : choice(options);
  },
  text: (text) => literal(JSON.stringify(text).slice(1, -1)),
};

function jsonEscape(code: number): string {
  return SHORT_ESCAPES[code] ?? `\\u${code.toString(16).padStart(4, "0")}`;
}

function intersection(a: readonly CodeRange[], b: readonly CodeRange[]): CodeRange[] {
  return normalRanges(
    a.flatMap(([low, high]) => b.map(([from, to]): CodeRange => [Math.max(low, from), Math.min(high, to)])),
  );
}

/** An expression as the body of a rule. */
function bodyOf(expression: Expression, spelling: Spelling): string {
  switch (expression.kind) {
    case "literal":
      return spelling.text(expression.text);
    case "class":
      return spelling.characters(expression.ranges);
    case "sequence":
      return `(${sequence(expression.parts.map((part) => bodyOf(part, spelling)))})`;
    case "choice":
      return choice(expression.options.map((option) => bodyOf(option, spelling)));
    case "repeat":
      return repeat(`(${bodyOf(expression.of, spelling)})`, expression.least, expression.most);
    case "reference":
      return expression.rule;
  }
}

/** Texts that a pattern matches: where it is not tied to an end, anything may stand there. */
export function patternBody({ options }: Pattern, spelling: Spelling): string {
  const anything = repeat(spelling.characters(complement([])), 0, null);
  return choice(
    options.map(({ body, begins, ends }) =>
      sequence([...(begins ? [] : [anything]), bodyOf(body, spelling), ...(ends ? [] : [anything])]),
    ),
  );
}
