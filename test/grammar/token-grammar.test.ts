import { describe, expect, test } from "vitest";
import { TokenGrammar } from "../../shared/grammar/token-grammar.ts";
import { Vocabulary } from "../../shared/grammar/vocabulary.ts";
import { Random } from "../helpers/random.ts";
import { allowedTokens } from "./walk.ts";

/** Tokens whose bytes are their texts; the last one ends the text. */
function vocabularyOf(texts: readonly string[]): Vocabulary {
  const bytes = [...texts, "<end>"].map((text) => new TextEncoder().encode(text));
  const table = {
    size: bytes.length,
    bytes: (token: number) => bytes[token]!,
    hidden: (token: number) => token === texts.length,
  };
  return new Vocabulary(table, [texts.length]);
}

const LETTERS = [...'abcdef{}":, 0123456789'];
const TEXTS = [...LETTERS, "ab", "abc", "bc", "cd", "cde", '{"', '":', "a", "\u00c3\u00a4".normalize(), "ef"];
const VOCABULARY = vocabularyOf(TEXTS);
const END = TEXTS.length;
const token = (text: string) => TEXTS.indexOf(text);

describe("forced tokens", () => {
  test("are the longest ones of a text that has no other", () => {
    const grammar = new TokenGrammar('root ::= "abcdef"', VOCABULARY);
    const written: number[] = [];
    for (let place = grammar.start; place !== null; ) {
      const forced = grammar.forced(place);
      written.push(forced);
      place = grammar.next(place, forced) ?? null;
    }
    expect(written).toEqual([token("abc"), token("d"), token("ef"), END]);
  });

  test("are none where a token may reach beyond the text that has to follow", () => {
    const grammar = new TokenGrammar('root ::= "a" [b-f]', VOCABULARY);
    expect(grammar.forced(grammar.start)).toBe(-1);
    expect(grammar.expected(grammar.start)).toBe(token("a"));
  });

  test("are none where the text may end", () => {
    const grammar = new TokenGrammar('root ::= "a" "b"?', VOCABULARY);
    const place = grammar.next(grammar.start, token("a"))!;
    expect(grammar.forced(place)).toBe(-1);
    expect(allowedTokens(grammar.mask(place!), VOCABULARY.size)).toEqual([token("b"), END]);
  });
});

/** What is allowed according to a regular expression: tokens after which some continuation matches, by trying all short ones. */
const CASES: readonly (readonly [grammar: string, pattern: RegExp])[] = [
  ['root ::= ("ab" | "a" [b-d]) "e"?', /^(ab|a[b-d])e?$/],
  ['root ::= [abc]{2,3} ("d" | "")', /^[abc]{2,3}d?$/],
  ['root ::= item+\nitem ::= "a" | "bc" # one of them', /^(a|bc)+$/],
  ['root ::= "a" tail\ntail ::= "b" tail | "c"', /^ab*c$/],
];

test.each(CASES)("the mask of %s is what can be completed", (source, pattern) => {
  const grammar = new TokenGrammar(source, VOCABULARY);
  const texts = [""];
  for (const text of texts) if (text.length < 5) texts.push(...[..."abcde"].map((next) => text + next));
  const matching = texts.filter((text) => pattern.test(text));
  const isPrefix = (text: string) => matching.some((whole) => whole.startsWith(text));
  const random = new Random(7);
  for (let walk = 0; walk < 30; walk++) {
    let text = "";
    for (let place = grammar.start; place !== null && text.length < 3; ) {
      const allowed = allowedTokens(grammar.mask(place), VOCABULARY.size);
      const expected = TEXTS.flatMap((one, i) => (isPrefix(text + one) ? [i] : []));
      if (pattern.test(text)) expected.push(END);
      // The oracle knows texts of at most five letters.
      expect(allowed.filter((one) => text.length + (TEXTS[one]?.length ?? 0) < 5)).toEqual(
        expected.filter((one) => text.length + (TEXTS[one]?.length ?? 0) < 5),
      );
      for (let one = 0; one < VOCABULARY.size; one++) {
        expect(grammar.next(place, one) !== undefined, `${text} ${one}`).toBe(allowed.includes(one));
      }
      const next = random.pick(allowed);
      text += TEXTS[next] ?? "";
      place = grammar.next(place, next)!;
    }
  }
});

test.each([
  ['root ::= root "a" | "b"', /left-recursive/],
  ['root ::= x root | "b"\nx ::= "a"?', /left-recursive/],
  ['root ::= "a" root', /no text/],
  ["root ::= other", /no rule 'other'/],
  // Before anything is made of the rest.
  ["root ::= (([abc]{100}){100}){100} other", /no rule 'other'/],
  ['other ::= "a"', /no rule 'root'/],
  ['root ::= "a" (', /line 1/],
  ['root ::= "a"\nroot ::= "b"', /twice/],
  ['root ::= "a"{5000}', /at most 4096/],
  ['root ::= "ö"', /no text/],
  [`root ::= ${"(".repeat(70)}"a"${")".repeat(70)}`, /nested/],
  ['root ::= x{4000}\nx ::= ("a" | "b" | "c" | "d" | "e"){4000}', undefined],
  ['root ::= ("a" | "b" | "c" | "d" | "e"){4000} ("a" | "b" | "c" | "d" | "e"){4000}', undefined],
  ["root ::= (([abc]{100}){100}){100}", /too large/],
  // Of nothing there may be no more than of anything else, or making it takes for ever.
  ['root ::= ((""{4096}){4096}){4096}', /too large/],
  // A class of code points of several bytes takes one place in each repetition.
  ["root ::= [^x]{4096} [^x]{4096} [^x]{4096}", undefined],
  [`root ::= (${Array.from({ length: 1000 }, (_, i) => `"${i}"`).join(" | ")}){4096}`, /too large/],
])("%s", (source, fault) => {
  const made = () => new TokenGrammar(source, VOCABULARY);
  if (fault === undefined) expect(made).not.toThrow();
  else expect(made).toThrow(fault);
});

test("recursion is as deep as the text goes, and right recursion needs no depth", () => {
  const nested = new TokenGrammar('root ::= "{" root? "}"', VOCABULARY);
  let place = nested.after(Array.from({ length: 5000 }, () => token("{")));
  place = nested.after(
    Array.from({ length: 5000 }, () => token("}")),
    place,
  );
  expect(nested.next(place, END)).toBeNull();
  const list = new TokenGrammar('root ::= "a" root | "b"', VOCABULARY);
  const after = list.next(list.start, token("a"));
  expect(list.next(after!, token("a"))).toBe(after);
});

test("an ambiguous grammar is read in bounded ways, and every text it allows can still be completed", () => {
  const grammar = new TokenGrammar('root ::= x x x x x x x x\nx ::= "a" x | "ab" x | "b" | ""', VOCABULARY);
  let place = grammar.start;
  for (let i = 0; i < 40; i++) {
    const allowed = allowedTokens(grammar.mask(place!), VOCABULARY.size);
    expect(allowed.length).toBeGreaterThan(0);
    const [first] = allowed;
    place = grammar.next(place, first!)!;
    if (place === null) break;
    expect(place.readings.length).toBeLessThanOrEqual(256);
  }
});
