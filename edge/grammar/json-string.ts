import { MAX_REPEAT } from "../../shared/grammar/ebnf.ts";
import { GrammarError } from "../../shared/grammar/expression.ts";
import { IN_JSON, patternBody } from "./expressions.ts";
import type { JsonValues } from "./json-values.ts";
import { parseRegex } from "./regex.ts";
import type { Rules } from "./rules.ts";
import { countOf, malformed, type SchemaAt, SchemaError, unsupportedKeyword } from "./schema-error.ts";

const DATE =
  "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8])))";
const TIME =
  "(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]))";
const BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?";

/** Formats as patterns: each matches a part of what the format allows, which is enough to write one. */
const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  duration: "P(?:[0-9]{1,4}D|(?:[0-9]{1,4}D)?T[0-9]{1,4}[HMS]|[0-9]{1,4}W)",
  email: `[a-z0-9]+(?:[._+-][a-z0-9]+)*@${LABEL}(?:\\.${LABEL})+`,
  hostname: `${LABEL}(?:\\.${LABEL}){0,4}`,
  ipv4: `${BYTE}(?:\\.${BYTE}){3}`,
  ipv6: "[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}",
  uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
  uri: `https?://${LABEL}(?:\\.${LABEL})+(?:/[A-Za-z0-9._~-]*)*`,
};

/** Strings that the schema allows. */
export function stringBody(at: SchemaAt, json: JsonValues, rules: Rules): string {
  const { pattern, format } = at.schema;
  const least = countOf(at, "minLength") ?? 0;
  const most = countOf(at, "maxLength");
  const bounded = least > 0 || most !== null;
  const regex = regexOf(at, pattern, format);
  if (regex !== null) {
    if (bounded)
      throw unsupportedKeyword(at, most === null ? "minLength" : "maxLength", "together with a pattern or format");
    return rules.name(`"\\"" ${regex} "\\""`);
  }
  if (!bounded) return json.string;
  if (most !== null && most < least) throw malformed(at, "maxLength", "at least minLength");
  const keyword = (most ?? 0) > MAX_REPEAT ? "maxLength" : least > MAX_REPEAT ? "minLength" : null;
  if (keyword !== null) throw unsupportedKeyword(at, keyword, `above ${MAX_REPEAT}`);
  return rules.name(`"\\"" ${json.character}{${least},${most ?? ""}} "\\""`);
}

/** null: neither keyword is there. */
function regexOf(at: SchemaAt, pattern: unknown, format: unknown): string | null {
  if (pattern !== undefined && format !== undefined) throw unsupportedKeyword(at, "format", "together with a pattern");
  if (format !== undefined) {
    if (typeof format !== "string") throw malformed(at, "format", "a string");
    const known = Object.hasOwn(FORMATS, format) ? FORMATS[format] : undefined;
    if (known === undefined) throw unsupportedKeyword(at, "format", `with the value '${format.slice(0, 64)}'`);
    return patternBody(parseRegex(`^(?:${known})$`), IN_JSON);
  }
  if (pattern === undefined) return null;
  if (typeof pattern !== "string") throw malformed(at, "pattern", "a string");
  try {
    return patternBody(parseRegex(pattern), IN_JSON);
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    throw new SchemaError([...at.path, "pattern"], `the pattern cannot be used: ${error.message}`, true);
  }
}
