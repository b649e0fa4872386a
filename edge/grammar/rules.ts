import { GrammarError } from "../../shared/grammar/expression.ts";
import { LIMITS } from "../../shared/limits.ts";

/*
 * Grammars are written as text (shared/grammar/ebnf.ts), which is also how they travel to the gpu-worker. A *body* is the
 * right side of a rule; one that is no single element stands in parentheses.
 */

/** Text that begins with `root` where the grammar begins, made rule by rule. */
export class Rules {
  readonly #bodies = new Map<string, string>();
  readonly #names = new Map<string, string>();
  #length = 0;

  /** A name for `body`; equal bodies share one. */
  name(body: string): string {
    const known = this.#names.get(body);
    if (known !== undefined) return known;
    const name = this.reserve();
    this.#names.set(body, name);
    this.define(name, body);
    return name;
  }

  /** A name whose body comes later, as it may refer to itself. */
  reserve(): string {
    const name = `r${this.#bodies.size}`;
    this.define(name, "");
    return name;
  }

  /** Throws GrammarError where the grammar becomes too large. */
  define(name: string, body: string): void {
    this.#length += body.length + name.length + 6 - (this.#bodies.get(name)?.length ?? 0);
    if (this.#length > LIMITS.grammarBytes) throw tooLarge();
    this.#bodies.set(name, body);
  }

  /** The whole grammar, which begins with `body`. */
  grammar(body: string): string {
    const text = `root ::= ${body}\n${[...this.#bodies].map(([name, rule]) => `${name} ::= ${rule}\n`).join("")}`;
    if (text.length > LIMITS.grammarBytes) throw tooLarge();
    return text;
  }
}

export function tooLarge(): GrammarError {
  return new GrammarError(`its grammar is larger than ${LIMITS.grammarBytes >> 10} KiB`);
}

/** A literal, in ASCII. */
export function literal(text: string): string {
  return `"${text.replace(/[^ !#-[\]-~]/gu, (character) => escaped(character, '"'))}"`;
}

/** One code point of these ranges. */
export function characterClass(ranges: readonly (readonly [number, number])[]): string {
  const one = (code: number) => escaped(String.fromCodePoint(code), "]^-");
  return `[${ranges.map(([low, high]) => (low === high ? one(low) : `${one(low)}-${one(high)}`)).join("")}]`;
}

export function sequence(parts: readonly string[]): string {
  return parts.length === 0 ? '""' : parts.join(" ");
}

export function choice(options: readonly string[]): string {
  return options.length === 1 ? `(${options[0]!})` : `(${options.join(" | ")})`;
}

/** `most` null: without end. */
export function repeat(element: string, least: number, most: number | null): string {
  if (least === 1 && most === 1) return element;
  if (least === 0 && most === null) return `${element}*`;
  if (least === 1 && most === null) return `${element}+`;
  if (least === 0 && most === 1) return `${element}?`;
  return `${element}{${least === most ? least : `${least},${most ?? ""}`}}`;
}

function escaped(character: string, special: string): string {
  const code = character.codePointAt(0)!;
  if (character === "\\" || special.includes(character)) return `\\x${code.toString(16).padStart(2, "0")}`;
  if (code >= 0x20 && code < 0x7f) return character;
  if (code <= 0xff) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code <= 0xffff ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}
