import { MAX_REPEAT } from "../../shared/grammar/ebnf.ts";
import {
  type CodeRange,
  complement,
  type Expression,
  GrammarError,
  normalRanges,
} from "../../shared/grammar/expression.ts";

/*
 * Regular expressions of ECMAScript with the flag `u`, as far as they are regular: no look-around, no back-references, no
 * word boundaries, and `^` and `$` only at the ends of the whole or of its alternatives.
 */

/** A pattern's alternatives, and whether each is tied to the text's begin and end. */
export interface Pattern {
  readonly options: readonly { readonly body: Expression; readonly begins: boolean; readonly ends: boolean }[];
}

const MAX_DEPTH = 64;
const DIGITS: readonly CodeRange[] = [[0x30, 0x39]];
const WORD: readonly CodeRange[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
const SPACE: readonly CodeRange[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: readonly CodeRange[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const CLASSES: Readonly<Record<string, readonly CodeRange[]>> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORD,
  W: complement(WORD),
  s: SPACE,
  S: complement(SPACE),
};
const CONTROLS: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, v: 0x0b, f: 0x0c, 0: 0 };

/** Throws GrammarError. */
export function parseRegex(source: string): Pattern {
  try {
    // What is no pattern at all is told in the words of whoever would match with it.
    new RegExp(source, "u");
  } catch (error) {
    throw new GrammarError(error instanceof Error ? error.message : "it is no pattern");
  }
  const parser = new Parser(source);
  const options = [parser.option()];
  while (parser.takes("|")) options.push(parser.option());
  return { options };
}

class Parser {
  readonly #source: readonly string[];
  #at = 0;

  constructor(source: string) {
    this.#source = [...source];
  }

  takes(text: string): boolean {
    if (!this.#peeks(text)) return false;
    this.#at += text.length;
    return true;
  }

  option(): Pattern["options"][number] {
    const begins = this.takes("^");
    const body = this.#sequence(0);
    return { body, begins, ends: this.takes("$") };
  }

  #peeks(text: string): boolean {
    for (let i = 0; i < text.length; i++) if (this.#source[this.#at + i] !== text[i]) return false;
    return true;
  }

  #choice(depth: number): Expression {
    if (depth > MAX_DEPTH) throw new GrammarError("it is nested too deeply");
    const options = [this.#sequence(depth)];
    while (this.takes("|")) options.push(this.#sequence(depth));
    return options.length === 1 ? options[0]! : { kind: "choice", options };
  }

  #sequence(depth: number): Expression {
    const parts: Expression[] = [];
    while (this.#at < this.#source.length && !this.#peeks("|") && !this.#peeks(")")) {
      if (this.#peeks("$") && depth === 0) break;
      parts.push(this.#repeated(this.#element(depth)));
    }
    return parts.length === 1 ? parts[0]! : { kind: "sequence", parts };
  }

  #element(depth: number): Expression {
    if (this.takes("(")) return this.#group(depth + 1);
    if (this.takes(".")) return { kind: "class", ranges: complement(LINE_ENDS) };
    if (this.takes("[")) return { kind: "class", ranges: this.#class() };
    if (this.#peeks("^") || this.#peeks("$")) throw new GrammarError("anchors are supported only at its ends");
    if (this.takes("\\")) return { kind: "class", ranges: this.#escape() };
    return { kind: "literal", text: this.#source[this.#at++]! };
  }

  #group(depth: number): Expression {
    if (this.takes("?<") && !this.#peeks("=") && !this.#peeks("!")) while (!this.takes(">")) this.#at++;
    else if (this.takes("?") && !this.takes(":")) throw new GrammarError("look-around and flags are not supported");
    else if (this.#source[this.#at - 1] === "<") throw new GrammarError("look-around is not supported");
    const inner = this.#choice(depth);
    this.takes(")");
    return inner;
  }

  #repeated(of: Expression): Expression {
    const [least, most] = this.#bounds();
    if (least === null) return of;
    // Lazy or greedy, it matches the same texts.
    this.takes("?");
    if (Math.max(least, most ?? 0) > MAX_REPEAT) throw new GrammarError(`at most ${MAX_REPEAT} repetitions by number`);
    return { kind: "repeat", of, least, most };
  }

  #bounds(): readonly [number | null, number | null] {
    if (this.takes("*")) return [0, null];
    if (this.takes("+")) return [1, null];
    if (this.takes("?")) return [0, 1];
    if (!this.takes("{")) return [null, null];
    const least = this.#digits();
    const most = this.takes(",") ? (this.#peeks("}") ? null : this.#digits()) : least;
    this.takes("}");
    return [least, most];
  }

  #digits(): number {
    let text = "";
    while (/^[0-9]$/.test(this.#source[this.#at] ?? "")) text += this.#source[this.#at++];
    return Number(text);
  }

  /** After its "[". */
  #class(): CodeRange[] {
    const inverted = this.takes("^");
    const ranges: CodeRange[] = [];
    while (!this.takes("]")) {
      const first = this.#member();
      const single = first.length === 1 && first[0]![0] === first[0]![1];
      if (!single || !this.#peeks("-") || this.#peeks("-]")) {
        ranges.push(...first);
        continue;
      }
      this.takes("-");
      ranges.push([first[0]![0], this.#member()[0]![0]]);
    }
    return inverted ? complement(ranges) : normalRanges(ranges);
  }

  #member(): readonly CodeRange[] {
    if (this.takes("\\")) return this.#escape();
    const code = this.#source[this.#at++]!.codePointAt(0)!;
    return [[code, code]];
  }

  /** After its backslash. */
  #escape(): readonly CodeRange[] {
    const character = this.#source[this.#at++] ?? "";
    const known = CLASSES[character];
    if (known !== undefined) return known;
    if (/^[bBk1-9pP]$/.test(character)) throw new GrammarError(`'\\${character}' is not supported`);
    const code = this.#code(character);
    return [[code, code]];
  }

  #code(character: string): number {
    const control = CONTROLS[character];
    if (control !== undefined) return control;
    if (character === "c") return this.#source[this.#at++]!.codePointAt(0)! % 32;
    if (character === "x") return this.#hex(2);
    if (character !== "u") return character.codePointAt(0)!;
    if (!this.takes("{")) return this.#hex(4);
    let digits = "";
    while (!this.takes("}")) digits += this.#source[this.#at++];
    return Number.parseInt(digits, 16);
  }

  #hex(digits: number): number {
    const text = this.#source.slice(this.#at, this.#at + digits).join("");
    this.#at += digits;
    return Number.parseInt(text, 16);
  }
}
