import * as z from "zod";
import { TOKEN_SOURCES } from "../../shared/decode/receipt.ts";
import { ERRORS } from "../../shared/errors.ts";
import { IGNORED_FIELDS, REFUSED_FIELDS } from "./refuse.ts";
import { chatBody, completionBody } from "./schema.ts";

const FIELDS = `Refused unless they ask for nothing: ${REFUSED_FIELDS.join(", ")}. Accepted and ignored: ${IGNORED_FIELDS.join(", ")}.`;

const errorBody = z.object({
  error: z.object({
    message: z.string(),
    type: z.string(),
    param: z.string().nullable().meta({ description: "The field at fault, e.g. speculation.rescorer.alpha." }),
    code: z.enum(Object.keys(ERRORS)),
  }),
});

const usage = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  prompt_tokens_details: z.object({ cached_tokens: z.int() }),
  completion_tokens_details: z.object({
    reasoning_tokens: z.int(),
    accepted_prediction_tokens: z.int(),
    rejected_prediction_tokens: z.int(),
  }),
});

const metrics = z.object({
  speculative_decoding: z
    .object({
      mean_acceptance_length: z.number(),
      draft_acceptance_rate: z.number(),
      acceptance_histogram: z.array(z.int()),
      acceptance_histogram_by_draft_length: z.record(z.string(), z.array(z.int())),
      num_spec_steps: z.int(),
      num_accepted_draft_tokens: z.int(),
      num_draft_tokens: z.int(),
      num_spec_tokens: z.int(),
      per_step_accepted: z.array(z.int()).optional(),
      per_step_drafted: z.array(z.int()).optional(),
    })
    .nullable(),
  block_efficiency: z.number(),
  receipt: z
    .object({
      steps: z.int(),
      block_efficiency: z.object({ unrefined: z.number(), refined: z.number(), best: z.number() }),
      tokens: z.object(Object.fromEntries(TOKEN_SOURCES.map((source) => [source, z.int()]))),
      per_step: z.array(z.array(z.int())),
    })
    .optional(),
  timings: z.object({
    queue_ms: z.number(),
    prefill_ms: z.number(),
    ttft_ms: z.number(),
    total_ms: z.number(),
    tokens_per_second: z.number(),
    step_ms: z.object({ p50: z.number(), p95: z.number() }),
    round_trip_ms: z.object({ p50: z.number() }),
  }),
});

const finishReason = z.enum(["stop", "length"]);
const base = {
  id: z.string(),
  created: z.int(),
  model: z.string(),
  system_fingerprint: z.string(),
  usage,
  metrics,
  speculation: z.object({ steps: z.array(z.looseObject({ step: z.int() })) }).optional(),
};
const chatCompletion = z.object({
  ...base,
  object: z.literal("chat.completion"),
  choices: z.array(
    z.object({
      index: z.int(),
      message: z.object({ role: z.literal("assistant"), content: z.string(), refusal: z.null() }),
      logprobs: z.looseObject({}).nullable(),
      finish_reason: finishReason,
    }),
  ),
});
const completion = z.object({
  ...base,
  object: z.literal("text_completion"),
  choices: z.array(
    z.object({ index: z.int(), text: z.string(), logprobs: z.looseObject({}).nullable(), finish_reason: finishReason }),
  ),
});

/** OpenAPI 3.1 of every route. */
export function openApiDocument() {
  const schemas = {
    ChatRequest: chatBody,
    CompletionRequest: completionBody,
    ChatCompletion: chatCompletion,
    Completion: completion,
    Error: errorBody,
  };
  return {
    openapi: "3.1.0",
    info: {
      title: "foredraft",
      version: "0.1.0",
      description: "OpenAI-compatible completions by blockwise parallel decoding, with drafts refined at the edge.",
    },
    security: [{ bearer: [] }, {}],
    paths: {
      "/v1/chat/completions": { post: completionOperation("Chat completion", "ChatRequest", "ChatCompletion") },
      "/v1/completions": { post: completionOperation("Text completion", "CompletionRequest", "Completion") },
      "/v1/models": { get: getOperation("Models served, with their speculation defaults") },
      "/v1/models/{id}": {
        get: {
          ...getOperation("One model"),
          parameters: [{ name: "id", in: "path", required: true, schema: { type: "string" } }],
        },
      },
      "/healthz": { get: getOperation("The edge runs") },
      "/readyz": { get: getOperation("The engine is reachable and serves the model deployed here") },
      "/openapi.json": { get: getOperation("This document") },
    },
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
      schemas: Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, jsonSchema(schema)])),
    },
  };
}

function jsonSchema(schema: z.ZodType): object {
  // The document as a whole already names the dialect.
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io: "input" });
  return rest;
}

function completionOperation(summary: string, request: string, response: string) {
  return {
    summary,
    description: FIELDS,
    requestBody: { required: true, content: { "application/json": { schema: ref(request) } } },
    responses: {
      200: {
        description: "The completion; with stream: true, server-sent events ending in [DONE].",
        content: { "application/json": { schema: ref(response) }, "text/event-stream": { schema: { type: "string" } } },
      },
      default: errorResponse(),
    },
  };
}

function getOperation(summary: string) {
  return {
    summary,
    responses: {
      200: { description: summary, content: { "application/json": { schema: { type: "object" } } } },
      default: errorResponse(),
    },
  };
}

function errorResponse() {
  return { description: "An error in OpenAI's shape", content: { "application/json": { schema: ref("Error") } } };
}

function ref(name: string) {
  return { $ref: `#/components/schemas/${name}` };
}
