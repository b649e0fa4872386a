import { expect, test } from "vitest";
import { replayCases } from "../../bench/eval/cases.ts";
import { NO_PARTS, traceCompletion } from "../../bench/eval/complete.ts";
import { evaluate } from "../../bench/eval/evaluate.ts";
import { parseMethod } from "../../bench/eval/methods.ts";
import type { ReceiptBody } from "../../edge/openai/answer-schemas.ts";
import { manifestOf, testApp, tokensOf } from "./fixture.ts";

const MAX_TOKENS = 24;

test("a request's receipt is what the evaluation counts for the same answer", async () => {
  const { post, engine } = testApp({ script: { text: "hello world, hello moon", wrongRows: [3] } });
  const manifest = manifestOf("toy");
  const prompt = tokensOf("hi");
  const response = await post("/v1/completions", {
    prompt,
    max_tokens: MAX_TOKENS,
    temperature: 0,
    speculation: { heads: manifest.latticeHeads, rescorer: { type: "none" }, receipt: true },
  });
  const { metrics } = (await response.json()) as { metrics: { block_efficiency: number; receipt: ReceiptBody } };
  const { receipt } = metrics;

  const limits = { maxTokens: MAX_TOKENS, eosTokens: manifest.eosTokens };
  const task = { engine, model: "toy", prompt: Uint32Array.from(prompt), limits, autoNodes: false };
  const { completion, lattices, runnersUp } = await traceCompletion(task, manifest);
  const answer = { id: "a", category: "c", turn: 0, prompt: task.prompt, output: Uint32Array.from(completion.output) };
  const cases = replayCases([{ ...answer, lattices, runnersUp }], { manifest, neural: null }, MAX_TOKENS);
  const method = parseMethod("none", manifest, { alpha: null, pack: null, heads: null, topK: null });
  const [row] = await evaluate(cases, { methods: [method], parts: NO_PARTS });
  const counted = row!.methods.get("none")!.counters.receipt;

  expect(receipt.steps).toBe(counted.steps);
  expect(receipt.tokens).toEqual(counted.tokens);
  const perStep = (tokens: number) => Math.round((tokens / counted.steps) * 1000) / 1000;
  expect(receipt.block_efficiency).toEqual({
    unrefined: perStep(counted.unrefined),
    refined: perStep(counted.refined),
    best: perStep(counted.best),
  });
  expect(receipt.block_efficiency.refined).toBe(metrics.block_efficiency);
  // Unrefined drafts are the heads' first choices.
  expect(receipt.block_efficiency.unrefined).toBe(receipt.block_efficiency.refined);
  expect(receipt.steps).toBeGreaterThan(1);
});

test("a receipt of several choices is over the steps of all", async () => {
  const ask = async (n: number) => {
    const { post } = testApp({ script: { text: "hello world, hello moon", wrongRows: [3] } });
    const body = { prompt: "hi", n, max_tokens: MAX_TOKENS, temperature: 0, speculation: { receipt: true } };
    const answer = (await (await post("/v1/completions", body)).json()) as { metrics: { receipt: ReceiptBody } };
    return answer.metrics.receipt;
  };
  const [one, three] = await Promise.all([ask(1), ask(3)]);
  expect(three.steps).toBe(3 * one.steps);
  expect(three.block_efficiency).toEqual(one.block_efficiency);
  expect(three.per_step).toEqual([...one.per_step, ...one.per_step, ...one.per_step]);
  expect(three.tokens.bonus).toBe(3 * one.tokens.bonus);
});

test("nobody else gets a receipt", async () => {
  const { post } = testApp();
  const response = await post("/v1/completions", { prompt: "hi", temperature: 0 });
  expect(((await response.json()) as { metrics: object }).metrics).not.toHaveProperty("receipt");
});
