import { GrammarError } from "../../shared/grammar/expression.ts";

/** What of a schema cannot be heeded, and where: `path` are the keys that lead to the keyword. */
export class SchemaError extends GrammarError {
  readonly path: readonly string[];
  /** false: the schema itself is wrong; true: it asks for what this program does not do. */
  readonly unsupported: boolean;

  constructor(path: readonly string[], message: string, unsupported: boolean) {
    super(message);
    this.path = path;
    this.unsupported = unsupported;
  }
}

/** A JSON schema that is an object, and where it stands. */
export interface SchemaAt {
  readonly schema: Readonly<Record<string, unknown>>;
  readonly path: readonly string[];
}

export function unsupportedKeyword({ path }: SchemaAt, keyword: string, why = ""): SchemaError {
  const message = `the keyword '${keyword}' is not supported${why === "" ? "" : ` ${why}`}`;
  return new SchemaError([...path, keyword], message, true);
}

export function malformed({ path }: SchemaAt, keyword: string, expected: string): SchemaError {
  return new SchemaError([...path, keyword], `the keyword '${keyword}' must be ${expected}`, false);
}

/** A whole number of at least 0; null where the keyword is absent. */
export function countOf(at: SchemaAt, keyword: string): number | null {
  const value = at.schema[keyword];
  if (value === undefined) return null;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0)
    throw malformed(at, keyword, "a whole number");
  return value;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
