import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ensureBundle } from "../../models/bundle.ts";
import { ROOT } from "../../scripts/paths.ts";
import { type Stack, startStack } from "../../scripts/stack.ts";

/* Several models behind one edge, a gpu-worker each. */

let assetsDir = "";
let stack: Stack;
let client: OpenAI;
beforeAll(async () => {
  assetsDir = await mkdtemp(join(tmpdir(), "foredraft-models-"));
  const small = (name: string) => ensureBundle(join(ROOT, "test", "models", "small", `${name}.gguf`));
  const others = [await small("qwen2"), await small("gemma3")].map((dir) => ({ name: basename(dir), dir }));
  const bundleDir = await ensureBundle("tiny");
  const signal = new AbortController().signal;
  stack = await startStack({ bundle: "tiny", bundleDir, others, workers: 2, assetsDir, threads: 1, signal });
  client = new OpenAI({ baseURL: `${stack.edge.url}/v1`, apiKey: "any", maxRetries: 0 });
}, 120_000);
afterAll(async () => {
  await stack?.close();
  await rm(assetsDir, { recursive: true, force: true });
});

test("all are listed, the first being the default", async () => {
  const listed = (await client.models.list()).data.map(({ id }) => id);
  expect(listed).toEqual(["tiny", "qwen2", "gemma3"]);
  expect(stack.gpuWorkers).toHaveLength(4);
});

test("a request is answered by the model it names, whatever runs beside it", async () => {
  const names = ["tiny", "qwen2", "gemma3", "tiny", "gemma3", "qwen2"];
  const ask = (model: string) =>
    client.completions.create({ model, prompt: "the cat sat", max_tokens: 12, temperature: 0 });
  const alone = new Map<string, string>();
  for (const model of new Set(names)) alone.set(model, (await ask(model)).choices[0]!.text);
  expect(new Set(alone.values()).size).toBe(3);
  const answers = await Promise.all(names.map(ask));
  expect(answers.map(({ model }) => model)).toEqual(names);
  expect(answers.map(({ choices }) => choices[0]!.text)).toEqual(names.map((name) => alone.get(name)));
});

test("another model does not exist", async () => {
  const asked = client.completions.create({ model: "llama", prompt: "x", max_tokens: 1 });
  await expect(asked).rejects.toMatchObject({ status: 404, code: "model_not_found" });
});
