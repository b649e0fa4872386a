import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ReceiptBody } from "../../edge/openai/answer-schemas.ts";
import { schemaFault } from "../grammar/judge.ts";
import { randomObject } from "../grammar/random-schema.ts";
import { Random } from "../helpers/random.ts";
import { type Service, startService } from "./service.ts";

/** Answers held to a grammar, over HTTP with `tiny`, which left alone writes stories. */

let service: Service;
beforeAll(async () => {
  service = await startService({ engine: "tiny" });
});
afterAll(() => service?.close());

interface Body {
  choices: { message: { content: string }; finish_reason: string }[];
  usage: { completion_tokens: number };
  metrics: { block_efficiency: number; receipt?: ReceiptBody; placement: { steps: { edge: number; gpu: number } } };
  error?: { code: string; param: string; message: string };
}

const MESSAGES = [{ role: "user", content: "Tell me of a dog." }];

async function ask(more: object, status = 200): Promise<Body> {
  const request = { model: "tiny", messages: MESSAGES, temperature: 0, max_tokens: 160, ...more };
  const response = await service.post("/v1/chat/completions", request);
  const body = (await response.json()) as Body;
  expect(response.status, JSON.stringify(body)).toBe(status);
  return body;
}

const schemaFormat = (schema: object) => ({
  response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema } },
});

const PERSON = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 20 },
    favourite_colour: { enum: ["red", "green", "blue"] },
    age_in_years: { type: "integer", minimum: 0, maximum: 130 },
    likes_long_walks: { type: "boolean" },
  },
  required: ["name", "favourite_colour", "age_in_years", "likes_long_walks"],
  additionalProperties: false,
};

const FORMATS: Readonly<Record<string, object>> = {
  "a schema": schemaFormat(PERSON),
  "any object": { response_format: { type: "json_object" } },
  "a pattern": { guided: { regex: "The dog is [a-z]{3,8}( and [a-z]{3,8}){0,2}\\." } },
  "a grammar": { guided: { grammar: 'root ::= "(" [a-z]+ (" " root)? ")"' } },
  "a choice": { guided: { choice: ["a long and winding answer", "a long and straight answer", "none"] } },
};

const SETTINGS: readonly object[] = [
  {},
  { forced: false },
  { placement: "edge", rescorer: { type: "none" } },
  { placement: "gpu" },
  { placement: "gpu", rescorer: { type: "tree", prompt: true } },
  { max_nodes: 5, rescorer: { type: "ngram", order: 2, p_best: 3 } },
  { placement: "edge", rescorer: { type: "tree", prompt: true }, max_nodes: 40 },
  { placement: "edge", rescorer: { type: "tree", recycled: true }, receipt: true },
  { placement: "gpu", rescorer: { type: "tree", prompt: true, recycled: true }, receipt: true },
];

describe.each(Object.entries(FORMATS))("%s", (_, format) => {
  test.each([
    ["greedy", { temperature: 0 }],
    ["sampled", { temperature: 1, seed: 5 }],
    [
      "sampled with the rest of the fields",
      { temperature: 0.8, top_p: 0.9, min_p: 0.01, presence_penalty: 0.5, seed: 6 },
    ],
  ])("%s text is that of plain decoding under the mask, however it is drafted", async (_name, sampling) => {
    const plain = await ask({ ...format, ...sampling, speculation: { enabled: false } });
    for (const speculation of SETTINGS) {
      const { choices } = await ask({ ...format, ...sampling, speculation });
      expect(choices, JSON.stringify(speculation)).toEqual(plain.choices);
    }
  });
});

describe("a schema", () => {
  test("of forced text takes few model calls", async () => {
    const forced = await ask(schemaFormat(PERSON));
    const blind = await ask({ ...schemaFormat(PERSON), speculation: { forced: false } });
    expect(forced.choices[0]!.finish_reason).toBe("stop");
    expect(schemaFault(PERSON, forced.choices[0]!.message.content)).toBeNull();
    expect(forced.metrics.block_efficiency).toBeGreaterThan(1.5 * blind.metrics.block_efficiency);
  });

  test.each(["edge", "gpu"])("is in a receipt where it forced tokens, drafted at the %s", async (placement) => {
    const { metrics, usage } = await ask({ ...schemaFormat(PERSON), speculation: { placement, receipt: true } });
    const { tokens, steps } = metrics.receipt!;
    expect(tokens.grammar).toBeGreaterThan(steps);
    // The prefill's token is of no step.
    expect(Object.values(tokens).reduce((sum, count) => sum + count, 1)).toBe(usage.completion_tokens);
  });

  test.each([0, 1])("is kept to at temperature %s by every answer that stops", async (temperature) => {
    let stopped = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const schema = randomObject(new Random(seed), 2);
      const { choices } = await ask({ ...schemaFormat(schema), temperature, seed, max_tokens: 400 });
      const { message, finish_reason } = choices[0]!;
      if (finish_reason !== "stop") continue;
      stopped++;
      expect(schemaFault(schema, message.content), `seed ${seed}: ${message.content}`).toBeNull();
    }
    expect(stopped).toBeGreaterThan(10);
  });

  test("that asks for what is not supported is refused with the keyword's name", async () => {
    const schema = { type: "object", properties: { tags: { type: "array", uniqueItems: true } } };
    const { error } = await ask(schemaFormat(schema), 400);
    expect(error).toMatchObject({
      code: "unsupported",
      param: "response_format.json_schema.schema.properties.tags.uniqueItems",
    });
    expect(error!.message).toContain("'uniqueItems' is not supported");
  });
});

test.each([
  [schemaFormat({ type: "strng" }), "response_format.json_schema.schema.type"],
  [
    schemaFormat({ $ref: "#/$defs/a", $defs: { a: { anyOf: [{ $ref: "#/$defs/a" }] } } }),
    "response_format.json_schema.schema",
  ],
  [{ guided: { regex: "(?=a)b" } }, "guided.regex"],
  [{ guided: { regex: "(" } }, "guided.regex"],
  [{ guided: { grammar: "root ::= root" } }, "guided.grammar"],
  [{ guided: { grammar: "start ::= [a" } }, "guided.grammar"],
  [{ guided: { grammar: `root ::= "${"x".repeat(70_000)}"` } }, "guided.grammar"],
  [{ guided: { regex: "a", choice: ["b"] } }, "guided"],
  [{ guided: { regex: "a+" }, stop: ["b"] }, "stop"],
  [{ guided: { regex: "a+" }, response_format: { type: "json_object" } }, "guided"],
  [{ tool_choice: "required" }, "tool_choice"],
])("%j is refused at its field", async (fields, param) => {
  expect((await ask(fields, 400)).error).toMatchObject({ param });
});
