import { choice, literal, type Rules } from "./rules.ts";

/*
 * JSON in one fixed layout: a space after each comma and colon, none elsewhere. A layout that leaves no choice is one
 * whose tokens need no model.
 */

export const COMMA = literal(", ");
export const COLON = literal(": ");

/** A character of a string: itself, or an escape sequence of one code point. */
const CHARACTER =
  '[^"\\\\\\x00-\\x1f\\x7f] | "\\\\" (["\\\\/bfnrt] | "u" ([0-9a-cA-CefEF] [0-9a-fA-F] | [dD] [0-7]) [0-9a-fA-F]{2})';
/** Digits that a double holds exactly. */
export const INTEGER_DIGITS = 15;
const INTEGER = `"-"? ("0" | [1-9] [0-9]{0,${INTEGER_DIGITS - 1}})`;
const FRACTION = '("." [0-9]{1,15})?';
const EXPONENT = "([eE] [+-]? [0-9]{1,2})?";

/** Rules of JSON's own values, each by name. */
export class JsonValues {
  readonly #rules: Rules;
  #value: string | null = null;

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  get character(): string {
    return this.#rules.name(CHARACTER);
  }

  get string(): string {
    return this.#rules.name(`"\\"" ${this.character}* "\\""`);
  }

  get integer(): string {
    return this.#rules.name(INTEGER);
  }

  get number(): string {
    return this.#rules.name(`${this.integer} ${FRACTION} ${EXPONENT}`);
  }

  get boolean(): string {
    return choice([literal("true"), literal("false")]);
  }

  get null(): string {
    return literal("null");
  }

  /** Any value. */
  get value(): string {
    if (this.#value !== null) return this.#value;
    this.#value = this.#rules.reserve();
    const options = [this.object, this.array, this.string, this.number, this.boolean, this.null];
    this.#rules.define(this.#value, options.join(" | "));
    return this.#value;
  }

  get object(): string {
    return this.map(this.string, this.value, 0, null);
  }

  get array(): string {
    return this.list([], this.value, 0, null);
  }

  /** An object of `least` to `most` members. */
  map(key: string, value: string, least: number, most: number | null): string {
    const member = this.#rules.name(`${key} ${COLON} ${value}`);
    return this.#rules.name(`"{" ${this.#separated([], member, least, most)} "}"`);
  }

  /** An array that begins with `first` and goes on with `item`, of `least` to `most` elements. */
  list(first: readonly string[], item: string | null, least: number, most: number | null): string {
    return this.#rules.name(`"[" ${this.#separated(first, item, least, most)} "]"`);
  }

  /** Elements with commas between them; `item` null: none but those of `first`. */
  #separated(first: readonly string[], item: string | null, least: number, most: number | null): string {
    const rest = (written: number): string => {
      if (item === null || (most !== null && written >= most)) return "";
      const left = most === null ? null : most - written;
      const needed = Math.max(0, least - written);
      if (written > 0) return ` (${COMMA} ${item}){${needed},${left ?? ""}}`;
      const some = `${item}${rest(1)}`;
      return needed > 0 ? some : `(${some})?`;
    };
    const begin = (written: number): string => {
      const element = first[written];
      if (element === undefined || (most !== null && written >= most)) return rest(written);
      const some = `${written > 0 ? `${COMMA} ` : ""}${element} ${begin(written + 1)}`;
      return written < least ? some : `(${some})?`;
    };
    return begin(0);
  }
}

/** A value's text in the layout. */
export function layOut(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(layOut).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(([key, member]) => `${JSON.stringify(key)}: ${layOut(member)}`);
  return `{${members.join(", ")}}`;
}
