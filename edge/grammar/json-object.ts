import { COLON, COMMA, type JsonValues, layOut } from "./json-values.ts";
import { literal, type Rules, sequence } from "./rules.ts";
import { countOf, isRecord, malformed, type SchemaAt, SchemaError, unsupportedKeyword } from "./schema-error.ts";

type WriteSchema = (schema: unknown, path: readonly string[], depth: number) => string;

interface Member {
  /** Name, colon and value. */
  readonly body: string;
  readonly required: boolean;
}

const MAX_PROPERTIES = 500;

/** Objects: their properties in the schema's order, or, where none are named, members of any name. */
export class JsonObjects {
  readonly #rules: Rules;
  readonly #json: JsonValues;
  readonly #write: WriteSchema;

  constructor(rules: Rules, json: JsonValues, write: WriteSchema) {
    this.#rules = rules;
    this.#json = json;
    this.#write = write;
  }

  body(at: SchemaAt, depth: number): string {
    const { properties = {}, required = [], additionalProperties: others = true } = at.schema;
    if (!isRecord(properties)) throw malformed(at, "properties", "an object of schemas");
    if (!Array.isArray(required) || !required.every((name) => typeof name === "string")) {
      throw malformed(at, "required", "a list of names");
    }
    const least = countOf(at, "minProperties") ?? 0;
    const most = countOf(at, "maxProperties");
    const names = [...new Set([...Object.keys(properties), ...required])];
    if (names.length > MAX_PROPERTIES) throw new SchemaError(at.path, `at most ${MAX_PROPERTIES} properties`, true);
    if (names.length === 0) return this.#anyNames(at, others, least, most, depth);
    if (at.schema.propertyNames !== undefined) throw unsupportedKeyword(at, "propertyNames", "beside named properties");
    if (least > required.length)
      throw unsupportedKeyword(at, "minProperties", "above the number of required properties");
    if (most !== null && most < names.length) {
      throw unsupportedKeyword(at, "maxProperties", "below the number of properties");
    }
    const members = names.map((name): Member => {
      const named = Object.hasOwn(properties, name);
      if (!named && others === false)
        throw malformed(at, "required", `of properties that are allowed, unlike '${name}'`);
      const path = named ? [...at.path, "properties", name] : [...at.path, "additionalProperties"];
      const value = this.#write(named ? properties[name] : others, path, depth + 1);
      return { body: `${literal(layOut(name))} ${COLON} ${value}`, required: required.includes(name) };
    });
    return this.#rules.name(`"{" ${this.#members(members)} "}"`);
  }

  #anyNames(at: SchemaAt, others: unknown, least: number, most: number | null, depth: number): string {
    if (others === false || most === 0) {
      if (least > 0) throw malformed(at, "minProperties", "0 where no properties are allowed");
      return literal("{}");
    }
    // Two members may have one name, so that a number of them is no number of properties.
    if (least > 1) throw unsupportedKeyword(at, "minProperties", "above 1 where no properties are named");
    const { propertyNames } = at.schema;
    const key =
      propertyNames === undefined
        ? this.#json.string
        : this.#write(
            { type: "string", ...(isRecord(propertyNames) ? propertyNames : {}) },
            [...at.path, "propertyNames"],
            depth + 1,
          );
    const value = this.#write(others, [...at.path, "additionalProperties"], depth + 1);
    return this.#json.map(key, value, least, most);
  }

  /** Members with commas between those that are there. */
  #members(members: readonly Member[]): string {
    /** [i] what may follow once something was written, from member i on. */
    const rest: string[] = [];
    for (const [i, { body, required }] of [...members.entries()].reverse()) {
      const next = rest[i + 1];
      rest[i] = this.#rules.name(
        sequence([`(${COMMA} ${body})${required ? "" : "?"}`, ...(next === undefined ? [] : [next])]),
      );
    }
    const options: string[] = [];
    for (const [i, { body, required }] of members.entries()) {
      options.push(sequence([body, ...(rest[i + 1] === undefined ? [] : [rest[i + 1]!])]));
      if (required) return `(${options.join(" | ")})`;
    }
    return `(${options.join(" | ")})?`;
  }
}
