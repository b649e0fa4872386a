import * as z from "zod";
import { LIMITS } from "../../shared/limits.ts";
import { jsonSchema, ofObject, ofSchema, type Structured } from "./structured.ts";
import { type Tools, toolName, toolsOf } from "./tools.ts";

/** Tools and the answer's form, as the Responses API writes them. */

const tool = z.strictObject({
  type: z.literal("function"),
  name: toolName,
  description: z.string().nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z
    .boolean()
    .nullish()
    .meta({ description: "true: keywords that are not supported are refused, not passed over." }),
});

const toolChoice = z.union(
  [z.enum(["none", "auto", "required"]), z.strictObject({ type: z.literal("function"), name: toolName })],
  { error: "expected 'none', 'auto', 'required' or {type: 'function', name}" },
);

const format = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    name: z.string().max(LIMITS.nameLength).nullish(),
    description: z.string().nullish(),
    schema: jsonSchema.nullish().meta({ description: "Left out, it is that of all objects." }),
    strict: z.boolean().nullish().meta({ description: "Answers are always held to the schema." }),
  }),
]);

export const responseToolFields = {
  tools: z.array(tool).max(LIMITS.tools).nullish(),
  tool_choice: toolChoice.nullish(),
  parallel_tool_calls: z.boolean().nullish().meta({ description: "false: at most one call. Default true." }),
  text: z
    .strictObject({ format: format.nullish(), verbosity: z.string().nullish().meta({ description: "Ignored." }) })
    .nullish(),
};

export type ResponseToolBody = z.infer<z.ZodObject<typeof responseToolFields>>;

/** null: there are none, or none is to be called. Throws StepError naming the field at fault. */
export function responseToolsOf({ tools, tool_choice: wanted, parallel_tool_calls }: ResponseToolBody): Tools | null {
  const chat = (tools ?? []).map(({ type, ...about }) => ({ type, function: about }));
  const choice = typeof wanted === "object" && wanted !== null ? chosen(wanted.name) : wanted;
  return toolsOf({ tools: chat, tool_choice: choice, parallel_tool_calls }, "");
}

function chosen(name: string) {
  return { type: "function" as const, function: { name } };
}

/** null: anything goes. */
export function responseFormOf({ text }: ResponseToolBody): Structured | null {
  const wanted = text?.format;
  if (wanted == null || wanted.type === "text") return null;
  if (wanted.type === "json_object") return ofObject("text.format");
  return ofSchema(wanted.schema ?? { type: "object" }, "text.format.schema");
}
