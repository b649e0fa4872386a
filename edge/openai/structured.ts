import * as z from "zod";
import { StepError } from "../../shared/errors.ts";
import { GrammarError } from "../../shared/grammar/expression.ts";
import { LIMITS } from "../../shared/limits.ts";
import { PLAIN, patternBody } from "../grammar/expressions.ts";
import { JsonValues } from "../grammar/json-values.ts";
import { parseRegex } from "../grammar/regex.ts";
import { choice, literal, Rules, tooLarge } from "../grammar/rules.ts";
import { SchemaError } from "../grammar/schema-error.ts";
import { schemaBody } from "../grammar/schema-grammar.ts";
import { invalid } from "./check.ts";

export const jsonSchema = z.union([z.record(z.string(), z.unknown()), z.boolean()], {
  error: "expected a JSON schema",
});

const responseFormat = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    json_schema: z.strictObject({
      name: z.string().max(LIMITS.nameLength).nullish(),
      description: z.string().nullish(),
      schema: jsonSchema.nullish().meta({ description: "Left out, it is that of all objects." }),
      strict: z.boolean().nullish().meta({ description: "Answers are always held to the schema." }),
    }),
  }),
]);

const guided = z
  .strictObject({
    regex: z.string().min(1).optional().meta({ description: "A pattern of ECMAScript that the whole answer matches." }),
    grammar: z.string().min(1).optional().meta({ description: "A grammar in EBNF as llama.cpp's GBNF writes it." }),
    choice: z.array(z.string().min(1)).min(1).max(LIMITS.guidedChoices).optional(),
    json: jsonSchema.optional(),
  })
  .refine((fields) => Object.keys(fields).length === 1, "expected one of regex, grammar, choice and json")
  .meta({ minProperties: 1, maxProperties: 1 });

/** Request fields that say what the answer looks like. */
export const structuredFields = {
  response_format: responseFormat.nullish(),
  guided: guided.nullish().meta({ description: "The answer's form, where it is no JSON." }),
};

export type StructuredBody = z.infer<z.ZodObject<typeof structuredFields>>;

/** What an answer must look like. */
export interface Structured {
  /** The body of the whole answer, among `rules`. Throws StepError naming the field at fault. */
  readonly write: (rules: Rules) => string;
  /** The grammar itself, where it is given as such; then `write` is not called. */
  readonly source: string | null;
  /** Request field that asks for it. */
  readonly param: string;
}

/** null: anything goes. Throws StepError naming the field at fault. */
export function structuredOf({ response_format: format, guided }: StructuredBody): Structured | null {
  if (guided != null) {
    if (format != null && format.type !== "text") throw invalid("guided", "it goes without response_format");
    return guidedOf(guided);
  }
  if (format == null || format.type === "text") return null;
  if (format.type === "json_object") return ofObject("response_format");
  return ofSchema(format.json_schema.schema ?? { type: "object" }, "response_format.json_schema.schema");
}

/** An answer that is a JSON object. */
export function ofObject(param: string): Structured {
  return { param, source: null, write: (rules) => new JsonValues(rules).object };
}

function guidedOf({ regex, grammar, choice: options, json }: NonNullable<StructuredBody["guided"]>): Structured {
  if (json !== undefined) return ofSchema(json, "guided.json");
  if (grammar !== undefined) return { param: "guided.grammar", source: inAscii(grammar), write: () => "" };
  const param = options === undefined ? "guided.regex" : "guided.choice";
  const body = () => (options === undefined ? wholeMatch(regex ?? "") : oneOf(options));
  return { param, source: null, write: () => named(param, body) };
}

function oneOf(texts: readonly string[]): string {
  if (texts.reduce((sum, { length }) => sum + length, 0) > LIMITS.grammarBytes) throw tooLarge();
  return choice(texts.map(literal));
}

function wholeMatch(regex: string): string {
  // A longer one hardly fits once it is a grammar, and would take long to be refused for that.
  if (regex.length > LIMITS.grammarBytes) throw tooLarge();
  const { options } = parseRegex(regex);
  return patternBody({ options: options.map(({ body }) => ({ body, begins: true, ends: true })) }, PLAIN);
}

/** An answer of the JSON schema `value`, which stands at `param`. */
export function ofSchema(value: unknown, param: string): Structured {
  return { param, source: null, write: (rules) => named(param, () => schemaBody(value, rules)) };
}

/** Any other character of a grammar stands within a literal, a class or a comment, where an escape sequence means the same. */
function inAscii(grammar: string): string {
  const escaped = [...grammar].map((character) => {
    const code = character.codePointAt(0)!;
    return code < 0x80 ? character : `\\U${code.toString(16).padStart(8, "0")}`;
  });
  const source = escaped.join("");
  if (source.length > LIMITS.grammarBytes) throw asStepError(tooLarge(), "guided.grammar");
  return source;
}

/** The grammar of an answer that `write` describes, as it travels. Throws StepError naming the field at fault. */
export function grammarSource({ param, source, write }: Structured): string {
  return (
    source ??
    named(param, () => {
      const rules = new Rules();
      return rules.grammar(write(rules));
    })
  );
}

/** What `write` returns. Throws its faults as StepErrors that name `param`, or a part of it. */
export function named<T>(param: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    if (error instanceof GrammarError) throw asStepError(error, param);
    throw error;
  }
}

function asStepError(error: GrammarError, param: string): StepError {
  const path = error instanceof SchemaError ? error.path : [];
  const field = [param, ...path].join(".");
  const code = error instanceof SchemaError && error.unsupported ? "unsupported" : "invalid_request";
  return new StepError(code, `Invalid '${field}': ${error.message}.`, field);
}
