import { SchemaWriter } from "./json-schema.ts";
import { Rules } from "./rules.ts";
import { isRecord, SchemaError } from "./schema-error.ts";

/** The body of a schema's texts, among `rules`. Throws SchemaError naming the keyword that cannot be heeded. */
export function schemaBody(schema: unknown, rules: Rules): string {
  return new SchemaWriter(schema, rules).write();
}

/** Keywords that are left out before a schema is given up. */
const MAX_DROPPED = 200;

/**
 * As `schemaBody`, but keywords that are not supported are left out, so that a text may break them; what is not supported
 * otherwise leaves any value. Throws SchemaError only where the schema is malformed.
 */
export function lenientSchemaBody(schema: unknown, rules: Rules): string {
  let kept = schema;
  for (let dropped = 0; dropped < MAX_DROPPED; dropped++) {
    try {
      // In rules of its own first, so that what was begun in vain leaves nothing behind.
      schemaBody(kept, new Rules());
      return schemaBody(kept, rules);
    } catch (error) {
      if (!(error instanceof SchemaError) || !error.unsupported || error.path.length === 0) throw error;
      kept = without(kept, error.path);
    }
  }
  return schemaBody({ type: "object" }, rules);
}

/** A copy without what is at `path`. */
function without(value: unknown, path: readonly string[]): unknown {
  const [key = "", ...rest] = path;
  if (Array.isArray(value))
    return value.map((item: unknown, i) => (String(i) === key ? (rest.length === 0 ? {} : without(item, rest)) : item));
  if (!isRecord(value)) return value;
  const entries = Object.entries(value).filter(([name]) => name !== key || rest.length > 0);
  return Object.fromEntries(entries.map(([name, item]) => [name, name === key ? without(item, rest) : item]));
}
