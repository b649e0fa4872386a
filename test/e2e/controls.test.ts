import { afterAll, beforeAll, expect, test } from "vitest";
import { type Service, startService } from "./service.ts";

/** Sampled text of one seed is the same with drafts and without, under everything that changes which tokens are chosen. */

let service: Service;
beforeAll(async () => {
  service = await startService({ engine: "tiny" });
});
afterAll(() => service?.close());

const schema = {
  type: "object",
  properties: { title: { type: "string", maxLength: 10 }, rank: { type: "integer", minimum: 0, maximum: 99 } },
  required: ["title", "rank"],
  additionalProperties: false,
};
const CONTROLS: readonly (readonly [name: string, fields: object])[] = [
  ["penalties", { presence_penalty: 0.6, frequency_penalty: 0.4, repetition_penalty: 1.15 }],
  ["bias", { logit_bias: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`${260 + i * 7}`, (i % 9) - 4])) }],
  ["masks", { response_format: { type: "json_schema", json_schema: { name: "x", strict: true, schema } } }],
];
const PROMPTS = 50;

async function textOf(body: object): Promise<string> {
  const response = await service.post("/v1/chat/completions", { model: "tiny", max_tokens: 20, ...body });
  expect(response.status).toBe(200);
  const { choices } = (await response.json()) as { choices: [{ message: { content: string } }] };
  return choices[0].message.content;
}

test.each(CONTROLS)("%s, 50 prompts", { timeout: 240_000 }, async (_, fields) => {
  for (let seed = 0; seed < PROMPTS; seed++) {
    const messages = [{ role: "user", content: `Tell me story number ${seed * 7} of a dog and ${seed} cats.` }];
    const body = { messages, seed, temperature: 0.9, ...fields };
    const drafted = await textOf({ ...body, speculation: { max_nodes: 8 } });
    expect(await textOf({ ...body, speculation: { enabled: false } }), `seed ${seed}`).toBe(drafted);
  }
});
