import { make } from "./dom.js";

/**
 * @typedef {{ $ref?: string, type?: string | string[], description?: string, enum?: unknown[], const?: unknown, default?: unknown,
 *   anyOf?: Schema[], oneOf?: Schema[], items?: Schema, properties?: Record<string, Schema>, required?: string[],
 *   additionalProperties?: boolean | Schema, minimum?: number, maximum?: number, exclusiveMinimum?: number, minLength?: number, maxLength?: number,
 *   minItems?: number, maxItems?: number }} Schema
 * @typedef {Record<string, Schema>} Schemas
 */

/** Choices of a schema in a row, null apart: a field that may be null says so with one word. @param {Schema} schema @param {Schemas} schemas @returns {Schema[]} */
function choicesOf(schema, schemas) {
  const whole = resolve(schema, schemas);
  const choices = whole.anyOf ?? whole.oneOf;
  return choices === undefined ? [whole] : choices.flatMap((choice) => choicesOf(choice, schemas));
}

/** @param {Schema} schema @param {Schemas} schemas */
function resolve(schema, schemas) {
  const name = /^#\/components\/schemas\/(\w+)$/.exec(schema.$ref ?? "")?.[1];
  return (name === undefined ? undefined : schemas[name]) ?? schema;
}

/**
 * A schema's type in words.
 *
 * @param {Schema} schema
 * @param {Schemas} schemas
 * @returns {string}
 */
export function typeText(schema, schemas) {
  const texts = choicesOf(schema, schemas).map((choice) => oneType(choice, schemas));
  return [...new Set(texts)].join(" or ");
}

/** @param {Schema} schema @param {Schemas} schemas @returns {string} */
function oneType(schema, schemas) {
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type;
  if (type === "array") {
    return `array${bounds(schema.minItems, schema.maxItems)} of ${schema.items === undefined ? "anything" : typeText(schema.items, schemas)}`;
  }
  if (type === "string") return `string${bounds(schema.minLength, schema.maxLength)}`;
  if (type === "integer" || type === "number")
    return `${type}${bounds(schema.minimum, schema.maximum, schema.exclusiveMinimum)}`;
  return type ?? "anything";
}

/** @param {number | undefined} low @param {number | undefined} high @param {number} [above] */
function bounds(low, high, above) {
  // What is no bound of this server but of JavaScript's integers is not worth a word.
  const lowest = above === undefined ? low : `above ${above}`;
  const least = lowest === undefined || Number(lowest) <= Number.MIN_SAFE_INTEGER ? "" : String(lowest);
  const most = high === undefined || high >= Number.MAX_SAFE_INTEGER ? "" : String(high);
  if (least === "" && most === "") return "";
  return ` (${least}..${most})`;
}

/** The first object among a schema's choices, or in its arrays: what has fields of its own. @param {Schema} schema @param {Schemas} schemas @returns {Schema | null} */
function objectIn(schema, schemas) {
  for (const choice of choicesOf(schema, schemas)) {
    if (choice.properties !== undefined && Object.keys(choice.properties).length > 0) return choice;
    const inner = choice.items === undefined ? null : objectIn(choice.items, schemas);
    if (inner !== null) return inner;
  }
  return null;
}

/**
 * The fields of an object as a list, those of inner objects made once they are opened; null where there are none.
 *
 * @param {Schema} schema
 * @param {Schemas} schemas
 */
export function schemaFields(schema, schemas) {
  const object = objectIn(schema, schemas);
  if (object?.properties === undefined) return null;
  const required = new Set(object.required ?? []);
  return make(
    "ul",
    "schema",
    ...Object.entries(object.properties).map(([name, field]) => fieldItem(name, field, required.has(name), schemas)),
  );
}

/** @param {string} name @param {Schema} field @param {boolean} isRequired @param {Schemas} schemas */
function fieldItem(name, field, isRequired, schemas) {
  const { description, default: usual } = resolve(field, schemas);
  const item = make("li", "", make("span", "name", name), " ", make("span", "type", typeText(field, schemas)));
  if (isRequired) item.append(" ", make("span", "required", "required"));
  if (usual !== undefined) item.append(make("span", "type", `, default ${JSON.stringify(usual)}`));
  if (description !== undefined) item.append(make("p", "note", description));
  if (objectIn(field, schemas) !== null) item.append(innerFields(name, field, schemas));
  return item;
}

/** @param {string} name @param {Schema} field @param {Schemas} schemas */
function innerFields(name, field, schemas) {
  const details = make("details", "", make("summary", "", `Fields of ${name}`));
  details.addEventListener("toggle", () => details.append(schemaFields(field, schemas) ?? ""), { once: true });
  return details;
}
