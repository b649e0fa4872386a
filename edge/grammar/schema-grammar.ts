import { SchemaWriter } from "./json-schema.ts";
import type { Rules } from "./rules.ts";

/** The body of a schema's texts, among `rules`. Throws SchemaError naming the keyword that cannot be heeded. */
export function schemaBody(schema: unknown, rules: Rules): string {
  return new SchemaWriter(schema, rules).write();
}

/**
 * As `schemaBody`, but keywords that are not supported are left out, so that a text may break them; what is not supported
 * otherwise leaves any value. Throws SchemaError where the schema is malformed, or as a whole more than can be heeded.
 */
export function lenientSchemaBody(schema: unknown, rules: Rules): string {
  return new SchemaWriter(schema, rules, true).write();
}
