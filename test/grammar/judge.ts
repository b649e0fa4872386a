import { Ajv2020 } from "ajv/dist/2020.js";
import { fullFormats } from "ajv-formats/dist/formats.js";

/** What is wrong with a text as JSON of the schema; null: nothing. Not a line of the judge is ours. */
export function schemaFault(schema: object, text: string): string | null {
  const ajv = new Ajv2020({ strict: false, formats: fullFormats });
  return ajv.validate(schema, JSON.parse(text)) ? null : ajv.errorsText();
}
