import { afterAll, beforeAll, expect, test } from "vitest";
import { liveCases, type Model, replayCases } from "../../bench/eval/cases.ts";
import { NO_PARTS } from "../../bench/eval/complete.ts";
import { evaluate } from "../../bench/eval/evaluate.ts";
import { parseMethod } from "../../bench/eval/methods.ts";
import { loadBundle } from "../../bench/eval/model.ts";
import type { EvalRow } from "../../bench/eval/rows.ts";
import { summarise } from "../../bench/eval/summary.ts";
import type { Generation } from "../../bench/eval/trace.ts";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ensureBundle } from "../../models/bundle.ts";

/** The local rescorer of `tiny` in evaluation: live, beside the model, and over recorded lattices. */

const MAX_TOKENS = 40;
const rows: EvalRow[] = ["Once upon a time there was", "The first of the", "1 2 3"].map((prompt, i) => ({
  id: `row/${i}`,
  category: "text",
  split: null,
  input: { kind: "prompt", prompt },
  references: [],
}));

let model: Model;
let close: () => Promise<void>;
beforeAll(async () => {
  const dir = await ensureBundle("tiny");
  const { manifest, text, neural } = await loadBundle(dir, "tiny");
  const engine = await createInProcessEngine(dir, { threads: 1 });
  const rescorer = await neural([method("neural", manifest, 0.5)]);
  model = { engine, manifest, text, neural: rescorer };
  close = async () => {
    await engine.close();
    await rescorer?.release();
  };
});
afterAll(() => close?.());

function method(name: string, manifest: Model["manifest"], alpha: number) {
  return parseMethod(name, manifest, { alpha, pack: null, heads: null, topK: null });
}

function cases(onGeneration: ((generation: Generation) => void) | null) {
  return liveCases(rows, model, {
    maxTokens: MAX_TOKENS,
    autoNodes: false,
    onGeneration,
    onSkipped: () => {},
    onRow: () => {},
  });
}

test("counts the same beside the model as over a trace, and its text is plain decoding's", async () => {
  const methods = [method("neural", model.manifest, 0.7)];
  const live = await evaluate(cases(null), { methods, parts: NO_PARTS });
  const generations: Generation[] = [];
  await evaluate(
    cases((generation) => generations.push(generation)),
    { methods: [], parts: NO_PARTS },
  );
  const replayed = await evaluate(replayCases(generations, model, MAX_TOKENS), { methods, parts: NO_PARTS });
  const counters = (rows: typeof live) => rows.map((row) => row.methods.get("neural")!.counters);
  expect(counters(replayed)).toEqual(counters(live));
  expect(live.every((row) => row.methods.get("neural")?.identical)).toBe(true);
});

test("of weight 0 it is the heads alone; of weight 1 it is not", async () => {
  const generations: Generation[] = [];
  await evaluate(
    cases((generation) => generations.push(generation)),
    { methods: [], parts: NO_PARTS },
  );
  const counts = async (name: string, alpha: number) => {
    const methods = [method(name, model.manifest, alpha)];
    const results = await evaluate(replayCases(generations, model, MAX_TOKENS), { methods, parts: NO_PARTS });
    return summarise(results, [name], 1).overall[name];
  };
  expect(await counts("neural", 0)).toEqual(await counts("none", 0));
  expect(await counts("neural", 1)).not.toEqual(await counts("none", 0));
});
