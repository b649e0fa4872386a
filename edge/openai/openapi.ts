import * as z from "zod";
import { registration } from "../fleet/registry.ts";
import { detokenizeBody, tokenizeBody } from "../routes/tokenize.ts";
import * as answers from "./answer-schemas.ts";
import { IGNORED_FIELDS, REFUSED_FIELDS } from "./refuse.ts";
import { RESPONSE_IGNORED, RESPONSE_REFUSED, responseBody } from "./response-params.ts";
import { chatBody, completionBody } from "./schema.ts";

const SCHEMAS = {
  ChatRequest: chatBody,
  CompletionRequest: completionBody,
  ResponseRequest: responseBody,
  TokenizeRequest: tokenizeBody,
  DetokenizeRequest: detokenizeBody,
  ChatCompletion: answers.chatCompletion,
  ChatCompletionChunk: answers.chatChunk,
  Completion: answers.completion,
  CompletionChunk: answers.completionChunk,
  Response: answers.responseObject,
  ResponseEvent: answers.responseEvent,
  Tokens: answers.tokenized,
  Text: answers.detokenized,
  Error: answers.errorBody,
  Registration: registration,
};

type Name = keyof typeof SCHEMAS;

/** OpenAPI 3.1 of every route. */
export function openApiDocument() {
  return {
    openapi: "3.1.0",
    info: {
      title: "foredraft",
      version: "0.1.0",
      description: "OpenAI-compatible completions by blockwise parallel decoding, with drafts refined at the edge.",
    },
    security: [{ bearer: [] }, {}],
    paths: paths(),
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
      schemas: Object.fromEntries(Object.entries(SCHEMAS).map(([name, schema]) => [name, jsonSchema(schema)])),
    },
  };
}

function paths() {
  const fields = fieldsText(REFUSED_FIELDS, IGNORED_FIELDS);
  return {
    "/v1/chat/completions": {
      post: streamOperation("Chat completion", fields, ["ChatRequest", "ChatCompletion", "ChatCompletionChunk"]),
    },
    "/v1/completions": {
      post: streamOperation("Text completion", fields, ["CompletionRequest", "Completion", "CompletionChunk"]),
    },
    "/v1/responses": {
      post: streamOperation("Response, not stored", fieldsText(RESPONSE_REFUSED, RESPONSE_IGNORED), [
        "ResponseRequest",
        "Response",
        "ResponseEvent",
      ]),
    },
    "/v1/tokenize": { post: postOperation("Tokens of a prompt or a chat", "TokenizeRequest", "Tokens") },
    "/v1/detokenize": { post: postOperation("Tokens as text", "DetokenizeRequest", "Text") },
    "/v1/models": { get: getOperation("Models served, with their speculation defaults") },
    "/v1/models/{id}": {
      get: {
        ...getOperation("One model"),
        parameters: [inPath("id")],
      },
    },
    "/v1/memory": {
      get: getOperation("How much is remembered of this API key's texts"),
      delete: getOperation("Removes all of it"),
    },
    "/v1/packs": {
      get: getOperation("n-gram packs that this API key has uploaded"),
      delete: getOperation("Removes all of them"),
    },
    "/v1/packs/{name}": {
      get: { ...getOperation("One of them, by name or hash"), parameters: [inPath("name")] },
      put: {
        ...getOperation("Uploads a pack, in place of the one of that name"),
        parameters: [inPath("name")],
        requestBody: {
          required: true,
          content: { "application/octet-stream": { schema: { type: "string", format: "binary" } } },
        },
      },
      delete: { ...getOperation("Removes it"), parameters: [inPath("name")] },
    },
    "/fleet/workers": {
      get: getOperation("Gpu-workers registered now; with the gpu-workers' key, as all of this path"),
      post: {
        ...getOperation("A gpu-worker registers for 15 s, or renews that"),
        requestBody: { required: true, content: { "application/json": { schema: ref("Registration") } } },
      },
      delete: {
        ...getOperation("A gpu-worker takes no more"),
        parameters: [{ name: "url", in: "query", required: true, schema: { type: "string" } }],
      },
    },
    "/healthz": { get: getOperation("The edge runs; /health is the same") },
    "/readyz": { get: getOperation("The engine is reachable and serves the model deployed here") },
    "/metrics": { get: getOperation("The gpu-workers' metrics, for Prometheus; needs a key", "text/plain") },
    "/openapi.json": { get: getOperation("This document") },
  };
}

function inPath(name: string) {
  return { name, in: "path", required: true, schema: { type: "string" } };
}

function fieldsText(refused: readonly string[], ignored: readonly string[]): string {
  return `Refused unless they ask for nothing: ${refused.join(", ")}. Accepted and ignored: ${ignored.join(", ")}.`;
}

function jsonSchema(schema: z.ZodType): object {
  // The document as a whole already names the dialect.
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io: "input" });
  return rest;
}

function streamOperation(summary: string, description: string, [request, answer, item]: readonly [Name, Name, Name]) {
  const operation = postOperation(summary, request, answer);
  const stream = { schema: ref(item), description: "With stream: true; the schema is that of each event's data." };
  operation.responses[200].content["text/event-stream"] = stream;
  return { ...operation, description };
}

function postOperation(summary: string, request: Name, answer: Name) {
  const content: Record<string, { schema: object }> = { "application/json": { schema: ref(answer) } };
  return {
    summary,
    requestBody: { required: true, content: { "application/json": { schema: ref(request) } } },
    responses: { 200: { description: summary, content }, default: errorResponse() },
  };
}

function getOperation(summary: string, type = "application/json") {
  const schema = { type: type === "application/json" ? "object" : "string" };
  return {
    summary,
    responses: { 200: { description: summary, content: { [type]: { schema } } }, default: errorResponse() },
  };
}

function errorResponse() {
  return { description: "An error in OpenAI's shape", content: { "application/json": { schema: ref("Error") } } };
}

function ref(name: Name) {
  return { $ref: `#/components/schemas/${name}` };
}
