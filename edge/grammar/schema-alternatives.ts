import { layOut } from "./json-values.ts";
import { isRecord, malformed, type SchemaAt, SchemaError, unsupportedKeyword } from "./schema-error.ts";

/** Keywords that say nothing about what is valid. */
const ANNOTATIONS: ReadonlySet<string> = new Set([
  "$schema",
  "$id",
  "$comment",
  "$defs",
  "definitions",
  "$anchor",
  "title",
  "description",
  "default",
  "examples",
  "example",
  "deprecated",
  "readOnly",
  "writeOnly",
  "strict",
]);

export function keywordsThatMatter(schema: SchemaAt["schema"]): string[] {
  return Object.keys(schema).filter((keyword) => !ANNOTATIONS.has(keyword) && !keyword.startsWith("x-"));
}

const MOST_COMPARED = 100;

/** The schemas one of which must hold; null where the schema has no such keyword. */
export function alternativesOf(at: SchemaAt): SchemaAt[] | null {
  const keyword = ["anyOf", "oneOf", "allOf"].find((one) => at.schema[one] !== undefined);
  if (keyword === undefined) return null;
  const list = at.schema[keyword];
  if (!Array.isArray(list) || list.length === 0) throw malformed(at, keyword, "a list of schemas");
  // Each of `oneOf` is compared with the ones before, and `allOf` grows by each.
  if (keyword !== "anyOf" && list.length > MOST_COMPARED) {
    throw new SchemaError([...at.path, keyword], `at most ${MOST_COMPARED} alternatives`, true);
  }
  const { [keyword]: _list, ...base } = at.schema;
  const options = list.map((schema: unknown, i): SchemaAt => {
    if (!isRecord(schema)) throw unsupportedKeyword(at, keyword, "with schemas that are no objects");
    return { schema, path: [...at.path, keyword, String(i)] };
  });
  if (keyword === "allOf")
    return [options.reduce((whole, part) => merged(at, keyword, whole, part), { ...at, schema: base })];
  if (
    keyword === "oneOf" &&
    !options.every((option, i) => options.slice(0, i).every((other) => areApart(option, other)))
  ) {
    throw unsupportedKeyword(at, keyword, "where more than one alternative may hold; use 'anyOf'");
  }
  return options.map((option) => merged(at, keyword, { ...at, schema: base }, option));
}

/** Both at once. */
function merged(at: SchemaAt, keyword: string, base: SchemaAt, option: SchemaAt): SchemaAt {
  const refused = () => unsupportedKeyword(at, keyword, "beside keywords that it repeats");
  const both: Record<string, unknown> = { ...base.schema };
  for (const name of keywordsThatMatter(option.schema)) {
    const value = option.schema[name];
    const before = both[name];
    if (before === undefined) both[name] = value;
    else if (name === "type") both[name] = commonTypes(before, value);
    else if (name === "required" && Array.isArray(before) && Array.isArray(value))
      both[name] = [...new Set([...before, ...value])];
    else if (name === "properties" && isRecord(before) && isRecord(value)) {
      if (Object.keys(value).some((property) => Object.hasOwn(before, property))) throw refused();
      both[name] = { ...before, ...value };
    } else throw refused();
  }
  const sides = [base.schema, option.schema];
  const closed = sides.some(
    (one, i) => one.additionalProperties !== undefined && sides[1 - i]!.properties !== undefined,
  );
  if (closed) throw refused();
  return { schema: both, path: option.path };
}

function commonTypes(a: unknown, b: unknown): unknown[] {
  const [first, second] = [a, b].map((types): readonly unknown[] => (Array.isArray(types) ? types : [types]));
  const has = (types: readonly unknown[], type: unknown) =>
    types.includes(type) || (type === "integer" && types.includes("number"));
  const inBoth = [...first!.filter((type) => has(second!, type)), ...second!.filter((type) => has(first!, type))];
  return [...new Set(inBoth)];
}

/** Whether no value can be valid against both, as far as that shows in types and constants. */
function areApart(a: SchemaAt, b: SchemaAt): boolean {
  const [values, others] = [constantsOf(a.schema), constantsOf(b.schema)];
  if (values !== null && others !== null) return !values.some((value) => others.includes(value));
  const [types, otherTypes] = [typesOf(a.schema), typesOf(b.schema)];
  if (types !== null && otherTypes !== null && commonTypes(types, otherTypes).length === 0) return true;
  const [properties, otherProperties] = [a.schema.properties, b.schema.properties];
  if (!isRecord(properties) || !isRecord(otherProperties)) return false;
  return Object.keys(properties).some((name) => {
    const [one, other] = [properties[name], otherProperties[name]];
    const always = [a, b].every(({ schema }) => Array.isArray(schema.required) && schema.required.includes(name));
    return (
      always &&
      isRecord(one) &&
      isRecord(other) &&
      onlyObjects(a, b) &&
      areApart({ ...a, schema: one }, { ...b, schema: other })
    );
  });
}

function onlyObjects(...schemas: readonly SchemaAt[]): boolean {
  return schemas.every(({ schema }) => schema.type === "object");
}

function typesOf({ type }: SchemaAt["schema"]): readonly unknown[] | null {
  if (type === undefined) return null;
  return Array.isArray(type) ? type : [type];
}

/** The values of `const` or `enum`, as texts. */
function constantsOf(schema: SchemaAt["schema"]): readonly string[] | null {
  if ("const" in schema) return [layOut(schema.const)];
  return Array.isArray(schema.enum) ? schema.enum.map(layOut) : null;
}
