import * as z from "zod";
import { entries, metrics } from "./answer-schemas.ts";

/** What the Responses API answers, for the OpenAPI document. */

const status = z.enum(["in_progress", "completed", "incomplete"]);
const outputText = z.strictObject({
  type: z.literal("output_text"),
  text: z.string(),
  annotations: z.array(z.never()),
  logprobs: entries,
});
const outputItem = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("message"),
    id: z.string(),
    status,
    role: z.literal("assistant"),
    content: z.array(outputText),
  }),
  z.strictObject({
    type: z.literal("function_call"),
    id: z.string(),
    call_id: z.string().meta({ description: "What the item with the tool's output names." }),
    name: z.string(),
    arguments: z.string(),
    status,
  }),
]);

const schema = z.union([z.record(z.string(), z.unknown()), z.boolean()]);
const format = z.discriminatedUnion("type", [
  z.strictObject({ type: z.enum(["text", "json_object"]) }),
  z.strictObject({
    type: z.literal("json_schema"),
    name: z.string(),
    description: z.string().nullable(),
    schema,
    strict: z.boolean(),
  }),
]);

const tool = z.strictObject({
  type: z.literal("function"),
  name: z.string(),
  description: z.string().nullable(),
  parameters: z.record(z.string(), z.unknown()).nullable(),
  strict: z.boolean(),
});

export const responseObject = z.strictObject({
  id: z.string(),
  object: z.literal("response"),
  created_at: z.int(),
  status,
  completed_at: z.int().nullable(),
  background: z.literal(false),
  error: z.null(),
  incomplete_details: z.strictObject({ reason: z.literal("max_output_tokens") }).nullable(),
  instructions: z.string().nullable(),
  max_output_tokens: z.int().nullable(),
  max_tool_calls: z.null(),
  model: z.string(),
  output: z.array(outputItem),
  parallel_tool_calls: z.boolean(),
  presence_penalty: z.number(),
  frequency_penalty: z.number(),
  previous_response_id: z.null(),
  prompt_cache_key: z.null(),
  reasoning: z.strictObject({ effort: z.null(), summary: z.null() }),
  safety_identifier: z.null(),
  service_tier: z.literal("default"),
  store: z.literal(false),
  temperature: z.number(),
  text: z.strictObject({ format }),
  tool_choice: z.union([
    z.enum(["none", "auto", "required"]),
    z.strictObject({ type: z.literal("function"), name: z.string() }),
  ]),
  tools: z.array(tool),
  top_logprobs: z.int(),
  top_p: z.number(),
  truncation: z.literal("disabled"),
  usage: z
    .strictObject({
      input_tokens: z.int(),
      input_tokens_details: z.strictObject({ cached_tokens: z.int() }),
      output_tokens: z.int(),
      output_tokens_details: z.strictObject({ reasoning_tokens: z.int() }),
      total_tokens: z.int(),
    })
    .nullable(),
  user: z.null(),
  metadata: z.record(z.string(), z.string()),
  metrics: metrics.optional(),
});

const inItem = { item_id: z.string(), output_index: z.int() };
const inPart = { ...inItem, content_index: z.int() };
const event = <T extends z.ZodRawShape>(type: string, fields: T) =>
  z.strictObject({ type: z.literal(type), sequence_number: z.int(), ...fields });

export const responseEvent = z.union([
  ...["created", "in_progress", "completed", "incomplete"].map((type) =>
    event(`response.${type}`, { response: responseObject }),
  ),
  ...["added", "done"].map((type) =>
    event(`response.output_item.${type}`, { output_index: z.int(), item: outputItem }),
  ),
  ...["added", "done"].map((type) => event(`response.content_part.${type}`, { ...inPart, part: outputText })),
  event("response.output_text.delta", { ...inPart, delta: z.string(), logprobs: entries }),
  event("response.output_text.done", { ...inPart, text: z.string(), logprobs: entries }),
  event("response.function_call_arguments.delta", { ...inItem, delta: z.string() }),
  event("response.function_call_arguments.done", { ...inItem, name: z.string(), arguments: z.string() }),
  event("error", { code: z.string(), message: z.string(), param: z.string().nullable() }),
]);
