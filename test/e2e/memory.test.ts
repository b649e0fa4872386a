import { createHash } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { eventually, frames, type Service, serving } from "./service.ts";

/** What is remembered of a tenant: it changes that tenant's drafts, never a text, and nobody else's drafts at all. */

let service: Service;
const use = (started: Service) => {
  service = started;
};

const hash = (key: string) => createHash("sha256").update(key).digest("hex");

const VARS = { API_KEYS: ["ann", "bob"].map(hash).join() };

async function forgetAll(): Promise<void> {
  for (const key of ["ann", "bob"]) await memory(key, "DELETE");
}

interface Step {
  step: number;
  drafted: { id: number; parent: number; accepted: boolean }[];
}
interface Body {
  choices: { text: string }[];
  usage: { completion_tokens_details: { accepted_prediction_tokens: number } };
  metrics: { speculative_decoding: { per_step_accepted: number[]; per_step_drafted: number[] } };
  speculation: { steps: Step[] };
}

const TREE = { type: "tree", prompt: true };

function post(key: string, body: object): Promise<Response> {
  const headers = { "content-type": "application/json", authorization: `Bearer ${key}` };
  const all = { model: "tiny", max_tokens: 40, temperature: 0, ...body };
  return service.post("/v1/completions", all, { headers });
}

/** Drafts of a fixed size, so that nothing depends on how long anything takes. */
async function ask(key: string, prompt: string | number[], rescorer: object, more: object = {}): Promise<Body> {
  const speculation = { max_nodes: 24, placement: "edge", trace: true, rescorer };
  const response = await post(key, { prompt, speculation, ...more });
  expect(response.status).toBe(200);
  return (await response.json()) as Body;
}

async function memory(key: string, method = "GET"): Promise<Record<string, unknown>> {
  const response = await fetch(`${service.url}/v1/memory`, { method, headers: { authorization: `Bearer ${key}` } });
  expect(response.status).toBe(200);
  return (await response.json()) as Record<string, unknown>;
}

/** All that a caller sees of its drafts but the times. */
const drafts = ({ speculation, metrics }: Body) => ({
  steps: speculation.steps.map(({ drafted }) => drafted),
  sizes: metrics.speculative_decoding.per_step_drafted,
  accepted: metrics.speculative_decoding.per_step_accepted,
});

const MEMORY = { ...TREE, memory: true };
const STORY = "Once upon a time there was a little dog that lived by the sea.";

describe("over the model", () => {
  serving({ engine: "tiny", vars: VARS }, use);
  beforeEach(forgetAll);

  test("an earlier answer is copied from when it comes again, and no text changes", async () => {
    const rescorers = [TREE, { type: "ngram", prompt: true }, { type: "ngram", alpha: 0, p_best: 2, prompt: true }];
    for (const prompt of [STORY, "1 2 3 4", "Why?"]) {
      const plain = await ask("ann", prompt, { type: "none" }, { speculation: { enabled: false, trace: true } });
      for (const rescorer of rescorers) {
        await memory("ann", "DELETE");
        const without = await ask("ann", prompt, rescorer);
        const first = await ask("ann", prompt, { ...rescorer, memory: true });
        expect(drafts(first)).toEqual(drafts(without));
        const second = await ask("ann", prompt, { ...rescorer, memory: true });
        for (const body of [without, first, second]) expect(body.choices).toEqual(plain.choices);
        const accepted = (body: Body) => body.usage.completion_tokens_details.accepted_prediction_tokens;
        expect(accepted(second)).toBeGreaterThanOrEqual(accepted(first));
        if (prompt === STORY) expect(accepted(second)).toBeGreaterThan(accepted(first));
      }
      const sampled = { temperature: 1, seed: 3 };
      const once = await ask("ann", prompt, TREE, sampled);
      expect((await ask("ann", prompt, MEMORY, sampled)).choices).toEqual(once.choices);
      expect((await ask("ann", prompt, MEMORY, sampled)).choices).toEqual(once.choices);
    }
  });

  test("nothing of one tenant's texts shows in another's drafts, in their sizes or in what was accepted", async () => {
    const start_ = "The password of the ";
    const secret = `${start_}${"dog was a red ball and a blue sea. ".repeat(3)}`;
    const before = await ask("bob", start_, MEMORY);
    await memory("bob", "DELETE");
    await ask("ann", secret, MEMORY);
    expect(await memory("ann")).toMatchObject({ texts: 1 });
    expect(await memory("bob")).toMatchObject({ texts: 0, tokens: 0 });
    expect(drafts(await ask("bob", start_, MEMORY))).toEqual(drafts(before));
    // It would show: it does in the tenant's own drafts.
    expect(drafts(await ask("ann", start_, MEMORY))).not.toEqual(drafts(before));
    // A tenant that does not ask for its memory is neither reminded nor remembered.
    expect(drafts(await ask("ann", start_, TREE))).toEqual(drafts(before));
    expect(await memory("ann")).toMatchObject({ texts: 2 });
  });

  test("a conversation is kept once, with its latest turn", async () => {
    const first = await ask("ann", STORY, MEMORY);
    await ask("ann", `${STORY}${first.choices[0]!.text} And then`, MEMORY);
    expect(await memory("ann")).toMatchObject({ texts: 1 });
  });

  test("where the gpu-worker drafts, hints from the memory come and go without a change of text", async () => {
    for (const [prompt, more] of [
      [STORY, {}],
      ["1 2 3 4", { temperature: 1, seed: 5 }],
      ["Why?", { max_tokens: 120 }],
    ] as const) {
      const plain = await ask("ann", prompt, TREE, { ...more, speculation: { enabled: false } });
      for (const placement of ["gpu", "auto", "gpu", "gpu"]) {
        for (const max_nodes of [24, null]) {
          const speculation = { placement, max_nodes, rescorer: MEMORY };
          expect((await ask("ann", prompt, MEMORY, { ...more, speculation })).choices).toEqual(plain.choices);
        }
      }
    }
    // An answer does not wait for the gpu-worker to hear that its session has ended.
    await eventually(service.openSessions, (count) => count === 0);
  });
});

describe("over a scripted engine", () => {
  serving({ engine: "fake", env: { FAKE_STEP_MS: "30" }, vars: VARS }, use);
  beforeEach(forgetAll);

  test("deletion removes everything, also of what runs meanwhile", async () => {
    await ask("ann", STORY, MEMORY);
    const before = await memory("ann");
    expect(before).toMatchObject({ object: "memory", texts: 1 });
    expect(before.tokens).toBeGreaterThan(40);
    const speculation = { placement: "edge", rescorer: MEMORY };
    const running = await post("ann", { prompt: "another", stream: true, speculation });
    let deleted: object | null = null;
    for await (const _frame of frames(running)) deleted ??= await memory("ann", "DELETE");
    expect(deleted).toEqual({ object: "memory", deleted: true });
    expect(await memory("ann")).toEqual({ object: "memory", texts: 0, tokens: 0 });
    await ask("ann", STORY, MEMORY);
    expect(await memory("ann")).toEqual(before);
  });

  test("what is remembered is bounded, and the oldest goes first", async () => {
    const prompt = (n: number) => Array.from({ length: 480 }, (_, i) => 5 + ((i * n) % 300));
    for (let n = 1; n <= 40; n++) await ask("ann", prompt(n), MEMORY, { max_tokens: 1 });
    const { texts, tokens } = await memory("ann");
    expect(tokens).toBeLessThanOrEqual(16_384);
    expect(tokens).toBeGreaterThan(16_384 - 481);
    expect(texts).toBe(Number(tokens) / 481);
  });

  test("the field needs an API key, and a rescorer that copies", async () => {
    for (const rescorer of [{ type: "none" }, { type: "ngram", prompt: false }]) {
      const response = await post("ann", { prompt: "a", speculation: { rescorer: { ...rescorer, memory: true } } });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ error: { param: "speculation.rescorer.memory" } });
    }
    expect((await fetch(`${service.url}/v1/memory`)).status).toBe(401);
    expect((await fetch(`${service.url}/v1/memory`, { method: "DELETE" })).status).toBe(401);
  });
});

describe("where texts are kept for a second", () => {
  serving({ engine: "fake", vars: { ...VARS, MEMORY_EXPIRY_S: "1" } }, use);

  test("they expire", async () => {
    await ask("ann", STORY, MEMORY);
    await eventually(
      () => memory("ann"),
      ({ texts }) => texts === 0,
    );
  });
});

describe("without keys", () => {
  serving({ engine: "fake" }, use);

  test("the field is refused", async () => {
    const refused = await post("ann", { prompt: "a", speculation: { rescorer: MEMORY } });
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: { param: "speculation.rescorer.memory" } });
    expect((await fetch(`${service.url}/v1/memory`)).status).toBe(400);
  });
});
