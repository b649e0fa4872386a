import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { startStack } from "../../scripts/stack.ts";
import { PROMPTS } from "../decode/prompts.ts";
import { count } from "../eval/options.ts";
import { Progress } from "../eval/progress.ts";
import { firstMessages } from "../eval/rows.ts";

const SCHEMA = {
  type: "object",
  properties: {
    title: { type: "string", maxLength: 40 },
    tags: { type: "array", items: { type: "string", maxLength: 12 }, maxItems: 4 },
    rank: { type: "integer", minimum: 0, maximum: 100 },
  },
  required: ["title", "tags", "rank"],
  additionalProperties: false,
};

/** What changes which tokens are chosen; request fields. Ids are of common tokens in any vocabulary of some size. */
const CONTROLS: Readonly<Record<string, object>> = {
  penalties: { presence_penalty: 0.6, frequency_penalty: 0.4, repetition_penalty: 1.15 },
  bias: { logit_bias: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [String(260 + i * 7), (i % 9) - 4])) },
  mask: { response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema: SCHEMA } } },
};

export const IDENTITY_HELP = `npm run bench -- identity [options]
Whether sampled answers of one seed are the same text with drafts and without, under ${Object.keys(CONTROLS).join(", ")}.
  --bundle NAME    (smollm2-135m)
  --prompts FILE   JSONL, also .xz, as for npm run eval; may come again (six prompts of our own)
  --per-category N the first N of each category
  --max-tokens N   per answer (32)
  --temperature T  (0.8)`;

/** Texts compared and those that differ, per control. */
export async function benchIdentity(args: readonly string[]): Promise<object> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      bundle: { type: "string", default: "smollm2-135m" },
      prompts: { type: "string", multiple: true },
      "per-category": { type: "string" },
      "max-tokens": { type: "string", default: "32" },
      temperature: { type: "string", default: "0.8" },
    },
  });
  const { bundle } = values;
  const perCategory = count("--per-category", values["per-category"]);
  const maxTokens = count("--max-tokens", values["max-tokens"], 4096) ?? 32;
  const temperature = Number(values.temperature);
  if (!(temperature >= 0 && temperature <= 2)) throw new Error("--temperature is a number from 0 to 2");
  const filter = { split: null, limit: null, perCategory };
  const prompts = values.prompts === undefined ? PROMPTS : await firstMessages(values.prompts, filter);
  const assetsDir = await mkdtemp(join(tmpdir(), "foredraft-bench-"));
  const bundleDir = await ensureBundle(bundle);
  const stack = await startStack({ bundle, bundleDir, assetsDir, rateLimit: { limit: 1_000_000, period: 60 } });
  const kinds = Object.entries(CONTROLS);
  const progress = new Progress(prompts.length * kinds.length, "answers twice");
  const results = Object.fromEntries(kinds.map(([name]) => [name, { compared: 0, differ: 0, tokens: 0, steps: 0 }]));
  try {
    for (const [seed, content] of prompts.entries()) {
      for (const [name, fields] of kinds) {
        const messages = [{ role: "user", content }];
        const body = { model: bundle, messages, max_tokens: maxTokens, temperature, seed, ...fields };
        const drafted = await answer(stack.edge.url, body);
        const plain = await answer(stack.edge.url, { ...body, speculation: { enabled: false } });
        const result = results[name]!;
        result.compared++;
        result.tokens += drafted.tokens;
        result.steps += drafted.steps;
        if (drafted.text !== plain.text) result.differ++;
        progress.step();
      }
    }
    return { ...results, settings: { bundle, prompts: prompts.length, max_tokens: maxTokens, temperature } };
  } finally {
    progress.stop();
    await stack.close();
    await rm(assetsDir, { recursive: true, force: true });
  }
}

async function answer(url: string, body: object) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  const { choices, usage, metrics } = (await response.json()) as {
    choices: [{ message: { content: string | null } }];
    usage: { completion_tokens: number };
    metrics: { speculative_decoding: { num_spec_steps: number } | null };
  };
  const steps = metrics.speculative_decoding?.num_spec_steps ?? usage.completion_tokens - 1;
  return { text: choices[0].message.content, tokens: usage.completion_tokens, steps };
}
