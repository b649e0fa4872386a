import { schemaFault } from "../../test/grammar/judge.ts";
import { randomObject } from "../../test/grammar/random-schema.ts";
import { Random } from "../../test/helpers/random.ts";
import type { Client } from "../decode/http.ts";

const MAX_TOKENS = 600;
const TEMPERATURES = [0, 1];

interface Answer {
  readonly choices: readonly { readonly message: { readonly content: string }; readonly finish_reason: string }[];
}

/** Answers to random schemas: those that stop must be valid. Rejects with the first that is not. */
export async function checkRandom({ url, model }: Client, schemas: number): Promise<object> {
  const counts = { schemas, answers: 0, stopped: 0, cut: 0, valid: 0 };
  for (let seed = 1; seed <= schemas; seed++) {
    const schema = randomObject(new Random(seed), 2);
    for (const temperature of TEMPERATURES) {
      const { message, finish_reason } = await ask(`${url}/v1/chat/completions`, {
        model,
        messages: [{ role: "user", content: `Tell story ${seed}.` }],
        temperature,
        seed,
        max_tokens: MAX_TOKENS,
        response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema } },
      });
      counts.answers++;
      if (finish_reason !== "stop") {
        counts.cut++;
        continue;
      }
      counts.stopped++;
      const fault = schemaFault(schema, message.content);
      if (fault !== null) throw new Error(`seed ${seed}, temperature ${temperature}: ${fault}: ${message.content}`);
      counts.valid++;
    }
    if (seed % 100 === 0) console.error(`${seed} of ${schemas} schemas`);
  }
  return counts;
}

async function ask(url: string, body: object): Promise<Answer["choices"][number]> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  return ((await response.json()) as Answer).choices[0]!;
}
