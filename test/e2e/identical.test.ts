import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Service, startService } from "./service.ts";

/** Speculation changes speed only: the same text over HTTP with `tiny`, however it is drafted. */

let service: Service;
beforeAll(async () => {
  service = await startService({ engine: "tiny" });
});
afterAll(() => service?.close());

interface Body {
  choices: { text: string; finish_reason: string }[];
  usage: { completion_tokens: number };
  metrics: { speculative_decoding: Record<string, unknown>; receipt?: object };
}

const PROMPTS = ["Once upon a time", "The little dog said", "1 2 3 4", "Why?"];

async function complete(prompt: string, more: object): Promise<Body> {
  const response = await service.post("/v1/completions", {
    model: "tiny",
    prompt,
    max_tokens: 48,
    temperature: 0,
    ...more,
  });
  expect(response.status).toBe(200);
  return (await response.json()) as Body;
}

interface Served {
  packs: { name: string }[];
  rescorer_settings: Record<string, { defaults: { pair?: boolean } }>;
}

async function served(): Promise<Served> {
  const response = await fetch(`${service.url}/v1/models/tiny`);
  return ((await response.json()) as { speculation: Served }).speculation;
}

const NONE = [
  { heads: 1, rescorer: { type: "none" } },
  { rescorer: { type: "none" } },
  { max_nodes: 2, top_k: 2, rescorer: { type: "none" } },
];
const NEURAL = [0, 0.5, 1].map((alpha) => ({ max_nodes: 8, rescorer: { type: "neural", alpha } }));
const NGRAM = [0, 0.3, 1].flatMap((alpha) =>
  [1, 4, 16].map((p_best) => ({ max_nodes: 40, rescorer: { type: "ngram", order: 2, alpha, p_best } })),
);
const COPYING = [
  { rescorer: { prompt: true } },
  { max_nodes: 20, rescorer: { type: "ngram", alpha: 0.3, p_best: 4, prompt: true } },
  { rescorer: { type: "tree", prompt: true } },
  { max_nodes: 30, rescorer: { type: "tree", alpha: 0, prompt: false } },
];
const RECYCLING = (["edge", "gpu"] as const).flatMap((placement) =>
  [true, false].map((prompt) => ({
    placement,
    receipt: true,
    max_nodes: 24,
    rescorer: { type: "tree", prompt, recycled: true },
  })),
);

/** As far as the bundle has tables, and trees that know them. */
function pairing({ rescorer_settings: settings }: Served): object[] {
  const types = [
    { type: "pair", alpha: 1, p_best: 4 },
    { type: "tree", pair: true },
    { type: "path", pair: true },
  ];
  return types
    .filter(({ type, pair }) => settings[type] !== undefined && (!pair || settings[type].defaults.pair))
    .flatMap((rescorer) => ["edge", "gpu"].map((placement) => ({ placement, receipt: true, max_nodes: 24, rescorer })));
}

describe.each(PROMPTS)("%j", (prompt) => {
  test("greedy text is that of plain decoding under every rescorer", async () => {
    const plain = await complete(prompt, { speculation: { enabled: false } });
    const bundle = await served();
    const models = bundle.packs.map(({ name }) => name);
    const settings = [
      {},
      ...NONE,
      ...COPYING,
      ...NEURAL,
      ...RECYCLING,
      ...pairing(bundle),
      ...models.flatMap((model) => NGRAM.map((s) => ({ ...s, rescorer: { ...s.rescorer, model } }))),
    ];
    for (const speculation of settings) {
      const drafted = await complete(prompt, { speculation });
      expect(drafted.choices, JSON.stringify(speculation)).toEqual(plain.choices);
      expect(drafted.usage.completion_tokens).toBe(plain.usage.completion_tokens);
    }
  });

  test("a seed gives the same sampled text with speculation on and off", async () => {
    for (const seed of [1, 2]) {
      const sampling = { temperature: 1, top_p: 0.95, seed };
      const plain = await complete(prompt, { ...sampling, speculation: { enabled: false } });
      const drafted = await complete(prompt, { ...sampling, speculation: { max_nodes: 16 } });
      expect(drafted.choices).toEqual(plain.choices);
    }
  });
});

test("other seeds give other texts", async () => {
  const texts = new Set<string>();
  for (const seed of [1, 2, 3]) {
    texts.add((await complete("Once", { temperature: 1.5, seed })).choices[0]!.text);
  }
  expect(texts.size).toBe(3);
});

test("what was drafted and where its tokens came from is the same whoever drafts", async () => {
  const usual = { receipt: true, max_nodes: 24 };
  const settings = [{ ...usual, rescorer: { type: "tree", recycled: true } }, ...pairing(await served())];
  for (const setting of settings) {
    const receipts = [];
    for (const placement of ["edge", "gpu"]) {
      const speculation = { ...setting, placement };
      const { metrics } = await complete("Once upon a time", { max_tokens: 120, speculation });
      receipts.push(metrics.receipt);
    }
    expect(receipts[1], JSON.stringify(setting)).toEqual(receipts[0]);
    expect(receipts[0]).toMatchObject({ steps: expect.any(Number), tokens: { bonus: expect.any(Number) } });
  }
});

test("drafts are accepted: fewer model calls than tokens", async () => {
  const { metrics, usage } = await complete("Once upon a time", { speculation: { max_nodes: 8 } });
  expect(usage.completion_tokens).toBeGreaterThan(8);
  expect(Number(metrics.speculative_decoding.num_accepted_draft_tokens)).toBeGreaterThan(0);
});
