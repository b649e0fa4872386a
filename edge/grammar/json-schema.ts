import { numberBody } from "./json-number.ts";
import { JsonObjects } from "./json-object.ts";
import { stringBody } from "./json-string.ts";
import { JsonValues, layOut } from "./json-values.ts";
import { choice, literal, type Rules } from "./rules.ts";
import { alternativesOf, keywordsThatMatter } from "./schema-alternatives.ts";
import { countOf, isRecord, malformed, type SchemaAt, SchemaError, unsupportedKeyword } from "./schema-error.ts";

const TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"] as const;
type Type = (typeof TYPES)[number];

/** Keywords that are heeded, by the type that they speak of. */
const BY_TYPE: Readonly<Record<string, Type>> = {
  properties: "object",
  required: "object",
  additionalProperties: "object",
  minProperties: "object",
  maxProperties: "object",
  propertyNames: "object",
  items: "array",
  prefixItems: "array",
  minItems: "array",
  maxItems: "array",
  minLength: "string",
  maxLength: "string",
  pattern: "string",
  format: "string",
  minimum: "number",
  maximum: "number",
  exclusiveMinimum: "number",
  exclusiveMaximum: "number",
  multipleOf: "number",
};
const STRUCTURE: readonly string[] = ["type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"];
/** Keywords that ask for nothing with these values. */
const HARMLESS: Readonly<Record<string, unknown>> = {
  uniqueItems: false,
  unevaluatedProperties: true,
  nullable: false,
};

const MAX_DEPTH = 64;
const MAX_ITEMS = 4096;
const MAX_OPTIONS = 1000;

/**
 * Writes a JSON schema as a grammar: every text of the grammar is valid. Leniently, keywords that are not supported are left
 * out, so that a text may break them; where a schema is not supported at all, any value goes.
 */
export class SchemaWriter {
  readonly #root: unknown;
  readonly #lenient: boolean;
  readonly #rules: Rules;
  readonly json: JsonValues;
  readonly #objects: JsonObjects;
  /** Names of the rules of what `$ref` points to. */
  readonly #references = new Map<string, string>();

  constructor(root: unknown, rules: Rules, lenient = false) {
    this.#root = root;
    this.#lenient = lenient;
    this.#rules = rules;
    this.json = new JsonValues(rules);
    this.#objects = new JsonObjects(rules, this.json, (schema, path, depth) => this.#body(schema, path, depth));
  }

  /** The body of the whole schema. Throws SchemaError naming what cannot be heeded. */
  write(): string {
    return this.#body(this.#root, [], 0);
  }

  #body(schema: unknown, path: readonly string[], depth: number): string {
    if (!this.#lenient) return this.#exactBody(schema, path, depth);
    for (let kept = isRecord(schema) ? onlyKnown(schema) : schema; ; ) {
      try {
        return this.#exactBody(kept, path, depth);
      } catch (error) {
        if (!(error instanceof SchemaError) || !error.unsupported) throw error;
        // Faults further inside were dealt with there, so that each keyword left out writes no more again than its own schema.
        const keyword = error.path[path.length];
        if (keyword !== undefined && isRecord(kept) && Object.hasOwn(kept, keyword)) kept = without(kept, keyword);
        else if (path.length > 0) return this.json.value;
        else throw error;
      }
    }
  }

  #exactBody(schema: unknown, path: readonly string[], depth: number): string {
    if (depth > MAX_DEPTH) throw new SchemaError(path, "the schema is nested too deeply", true);
    if (schema === true) return this.json.value;
    if (schema === false) throw new SchemaError(path, "a schema of 'false' allows nothing", true);
    if (!isRecord(schema)) throw new SchemaError(path, "a schema must be an object or a boolean", false);
    const at: SchemaAt = { schema, path };
    this.#checkKeywords(at);
    const { $ref, enum: values } = at.schema;
    if ($ref !== undefined) return this.#reference(at, $ref, depth);
    if ("const" in at.schema) return this.#literals(at, "const", [at.schema.const]);
    if (values !== undefined) {
      if (!Array.isArray(values) || values.length === 0) throw malformed(at, "enum", "a list of values");
      return this.#literals(at, "enum", values);
    }
    const alternatives = alternativesOf(at);
    if (alternatives === null) return this.#typed(at, depth);
    if (alternatives.length > MAX_OPTIONS) throw new SchemaError(path, `at most ${MAX_OPTIONS} alternatives`, true);
    return this.#rules.name(choice(alternatives.map((option) => this.#body(option.schema, option.path, depth + 1))));
  }

  #checkKeywords(at: SchemaAt): void {
    for (const keyword of keywordsThatMatter(at.schema)) {
      if (isKnown(keyword)) continue;
      if (Object.hasOwn(HARMLESS, keyword) && HARMLESS[keyword] === at.schema[keyword]) continue;
      throw unsupportedKeyword(at, keyword);
    }
  }

  #reference(at: SchemaAt, target: unknown, depth: number): string {
    const beside = keywordsThatMatter(at.schema).find((keyword) => keyword !== "$ref");
    if (beside !== undefined) throw unsupportedKeyword(at, beside, "beside '$ref'");
    if (typeof target !== "string") throw malformed(at, "$ref", "a string");
    const known = this.#references.get(target);
    if (known !== undefined) return known;
    const keys = target === "#" ? [] : /^#\//.test(target) ? target.slice(2).split("/").map(unescaped) : null;
    if (keys === null) throw unsupportedKeyword(at, "$ref", "to anything outside the schema");
    let found: unknown = this.#root;
    for (const key of keys) found = ownValue(found, key);
    if (found === undefined)
      throw malformed(at, "$ref", `a place in the schema, which has no '${target.slice(0, 64)}'`);
    const name = this.#rules.reserve();
    this.#references.set(target, name);
    this.#rules.define(name, this.#body(found, keys, depth + 1));
    return name;
  }

  #literals(at: SchemaAt, keyword: string, values: readonly unknown[]): string {
    const beside = keywordsThatMatter(at.schema).find((other) => other !== keyword && other !== "type");
    if (beside !== undefined) throw unsupportedKeyword(at, beside, `beside '${keyword}'`);
    if (values.length > MAX_OPTIONS)
      throw new SchemaError([...at.path, keyword], `at most ${MAX_OPTIONS} values`, true);
    const types = this.#types(at);
    const fitting = values.filter((value) => types === null || types.some((type) => isOfType(value, type)));
    if (fitting.length === 0) throw malformed(at, keyword, "a value of the type");
    return this.#rules.name(choice(fitting.map((value) => literal(layOut(value)))));
  }

  #typed(at: SchemaAt, depth: number): string {
    const types = this.#types(at) ?? impliedTypes(at.schema);
    if (types === null) return this.json.value;
    // A whole number is a number.
    const distinct = types.filter((type) => type !== "integer" || !types.includes("number"));
    return choice(distinct.map((type) => this.#ofType(type, at, depth)));
  }

  #ofType(type: Type, at: SchemaAt, depth: number): string {
    switch (type) {
      case "object":
        return this.#objects.body(at, depth);
      case "array":
        return this.#array(at, depth);
      case "string":
        return stringBody(at, this.json, this.#rules);
      case "number":
        return numberBody(at, false, this.json);
      case "integer":
        return numberBody(at, true, this.json);
      case "boolean":
        return this.json.boolean;
      case "null":
        return this.json.null;
    }
  }

  #array(at: SchemaAt, depth: number): string {
    const { items, prefixItems } = at.schema;
    const least = countOf(at, "minItems") ?? 0;
    const most = countOf(at, "maxItems");
    if (Math.max(least, most ?? 0) > MAX_ITEMS) throw unsupportedKeyword(at, "maxItems", `above ${MAX_ITEMS}`);
    if (prefixItems !== undefined && !Array.isArray(prefixItems)) throw malformed(at, "prefixItems", "a list");
    const first = (prefixItems ?? []).map((item: unknown, i: number) =>
      this.#rules.name(this.#body(item, [...at.path, "prefixItems", String(i)], depth + 1)),
    );
    const none = items === false || most === 0;
    const item = none ? null : this.#rules.name(this.#body(items ?? true, [...at.path, "items"], depth + 1));
    if ((most !== null && most < least) || (none && first.length < least)) {
      throw malformed(at, "minItems", "what the array can hold");
    }
    return this.json.list(first, item, least, most);
  }

  /** null: all of them. */
  #types(at: SchemaAt): readonly Type[] | null {
    const { type } = at.schema;
    if (type === undefined) return null;
    const list: readonly unknown[] = Array.isArray(type) ? type : [type];
    const known = list.map((one) => TYPES.find((name) => name === one));
    if (list.length === 0 || known.includes(undefined)) throw malformed(at, "type", `of ${TYPES.join(", ")}`);
    return known.filter((one) => one !== undefined);
  }
}

function isKnown(keyword: string): boolean {
  return STRUCTURE.includes(keyword) || Object.hasOwn(BY_TYPE, keyword);
}

function onlyKnown(schema: SchemaAt["schema"]): SchemaAt["schema"] {
  return Object.fromEntries(Object.entries(schema).filter(([keyword]) => isKnown(keyword)));
}

function without(schema: SchemaAt["schema"], keyword: string): SchemaAt["schema"] {
  const { [keyword]: _left, ...kept } = schema;
  return kept;
}

/** The types that a schema without `type` speaks of; null where it speaks of none. */
function impliedTypes(schema: SchemaAt["schema"]): readonly Type[] | null {
  const types = new Set(Object.keys(schema).flatMap((keyword) => BY_TYPE[keyword] ?? []));
  return types.size === 0 ? null : [...types];
}

function isOfType(value: unknown, type: Type): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return isRecord(value);
  if (type === "integer") return Number.isInteger(value);
  return typeof value === type;
}

function ownValue(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, key) ? Reflect.get(value, key) : undefined;
}

function unescaped(key: string): string {
  return decoded(key).replaceAll("~1", "/").replaceAll("~0", "~");
}

/** What is no percent-encoding stands for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
