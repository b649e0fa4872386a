import {
  type CodeRange,
  complement,
  type Expression,
  type Grammar,
  GrammarError,
  normalRanges,
  ROOT_RULE,
} from "./expression.ts";

/*
 * Grammars as text, in llama.cpp's GBNF: `name ::= alternatives`, "literals", [classes], ( ), |, *, +, ?, {m,n} and
 * # comments. White space separates, a rule ends where the next one begins.
 */

/** Deepest nesting of parentheses. */
const MAX_DEPTH = 64;
/** Most repetitions that may be asked for by number. */
export const MAX_REPEAT = 4096;

/** Throws GrammarError. References need not be defined yet: see the automaton. */
export function parseGrammar(source: string): Grammar {
  const reader = new Reader(source);
  const rules = new Map<string, Expression>();
  reader.skip();
  while (!reader.ended) {
    const name = reader.name();
    if (name === null || !reader.takes("::=")) throw reader.fault("expected 'name ::='");
    if (rules.has(name)) throw reader.fault(`rule '${name}' is defined twice`);
    rules.set(name, choice(reader, 0));
  }
  if (!rules.has(ROOT_RULE)) throw new GrammarError(`there is no rule '${ROOT_RULE}'`);
  return rules;
}

function choice(reader: Reader, depth: number): Expression {
  if (depth > MAX_DEPTH) throw reader.fault("nested too deeply");
  const options = [sequence(reader, depth)];
  while (reader.takes("|")) options.push(sequence(reader, depth));
  return options.length === 1 ? options[0]! : { kind: "choice", options };
}

function sequence(reader: Reader, depth: number): Expression {
  const parts: Expression[] = [];
  for (let part = item(reader, depth); part !== null; part = item(reader, depth)) parts.push(repeated(reader, part));
  return parts.length === 1 ? parts[0]! : { kind: "sequence", parts };
}

/** null where the alternative ends. */
function item(reader: Reader, depth: number): Expression | null {
  if (reader.takes("(")) {
    const inner = choice(reader, depth + 1);
    if (!reader.takes(")")) throw reader.fault("expected ')'");
    return inner;
  }
  if (reader.takes('"')) return { kind: "literal", text: literal(reader) };
  if (reader.takes("[")) return { kind: "class", ranges: characters(reader) };
  if (reader.takes(".")) return { kind: "class", ranges: complement([]) };
  if (reader.atRule()) return null;
  const rule = reader.name();
  return rule === null ? null : { kind: "reference", rule };
}

function repeated(reader: Reader, of: Expression): Expression {
  if (reader.takes("*")) return repeated(reader, { kind: "repeat", of, least: 0, most: null });
  if (reader.takes("+")) return repeated(reader, { kind: "repeat", of, least: 1, most: null });
  if (reader.takes("?")) return repeated(reader, { kind: "repeat", of, least: 0, most: 1 });
  if (!reader.takes("{")) return of;
  const least = reader.number() ?? 0;
  const most = reader.takes(",") ? reader.number() : least;
  if (!reader.takes("}") || (most !== null && most < least)) throw reader.fault("expected {m}, {m,} or {m,n}");
  if (Math.max(least, most ?? 0) > MAX_REPEAT) throw reader.fault(`at most ${MAX_REPEAT} repetitions by number`);
  return repeated(reader, { kind: "repeat", of, least, most });
}

function literal(reader: Reader): string {
  let text = "";
  for (;;) {
    const character = reader.raw();
    if (character === '"') break;
    text += String.fromCodePoint(character === "\\" ? reader.escaped() : character.codePointAt(0)!);
  }
  reader.skip();
  return text;
}

function characters(reader: Reader): CodeRange[] {
  const ranges: CodeRange[] = [];
  const inverted = reader.peeks("^");
  if (inverted) reader.raw();
  const next = () => {
    const character = reader.raw();
    return character === "\\" ? reader.escaped() : character.codePointAt(0)!;
  };
  while (!reader.peeks("]")) {
    const low = next();
    if (!reader.peeks("-") || reader.peeks("-]")) {
      ranges.push([low, low]);
      continue;
    }
    reader.raw();
    const high = next();
    if (high < low) throw reader.fault("a range of characters that falls");
    ranges.push([low, high]);
  }
  reader.raw();
  reader.skip();
  return inverted ? complement(ranges) : normalRanges(ranges);
}

const NAME = /[a-zA-Z_][a-zA-Z0-9_-]*/y;
const RULE = /[a-zA-Z_][a-zA-Z0-9_-]*\s*::=/y;
const NUMBER = /[0-9]{1,9}/y;
const SPACE = /(?:\s|#[^\n]*)*/y;
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };
/** Hexadecimal digits after each. */
const CODES: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

class Reader {
  readonly #source: string;
  #at = 0;

  constructor(source: string) {
    this.#source = source;
  }

  get ended(): boolean {
    return this.#at >= this.#source.length;
  }

  /** Past white space and comments. */
  skip(): void {
    this.#match(SPACE);
  }

  peeks(text: string): boolean {
    return this.#source.startsWith(text, this.#at);
  }

  takes(text: string): boolean {
    if (!this.peeks(text)) return false;
    this.#at += text.length;
    // What follows these is text, to which white space belongs.
    if (text !== '"' && text !== "[") this.skip();
    return true;
  }

  atRule(): boolean {
    RULE.lastIndex = this.#at;
    return RULE.test(this.#source);
  }

  name(): string | null {
    const name = this.#match(NAME);
    if (name !== null) this.skip();
    return name;
  }

  number(): number | null {
    const digits = this.#match(NUMBER);
    if (digits !== null) this.skip();
    return digits === null ? null : Number(digits);
  }

  /** The next code point of a literal or class. */
  raw(): string {
    const code = this.#source.codePointAt(this.#at);
    if (code === undefined) throw this.fault("it ends within a literal or class");
    const character = String.fromCodePoint(code);
    this.#at += character.length;
    return character;
  }

  /** The code point that an escape sequence stands for. */
  escaped(): number {
    const character = this.raw();
    const digits = CODES[character];
    if (digits === undefined) return (ESCAPES[character] ?? character).codePointAt(0)!;
    const text = this.#source.slice(this.#at, this.#at + digits);
    const code = /^[0-9a-fA-F]+$/.test(text) && text.length === digits ? Number.parseInt(text, 16) : -1;
    if (code < 0 || code > 0x10ffff) throw this.fault("no code point in an escape sequence");
    this.#at += digits;
    return code;
  }

  fault(what: string): GrammarError {
    const line = this.#source.slice(0, this.#at).split("\n").length;
    return new GrammarError(`line ${line}: ${what}`);
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source)?.[0] ?? null;
    this.#at += found?.length ?? 0;
    return found;
  }
}
