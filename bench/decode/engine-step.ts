import { availableParallelism } from "node:os";
import { readBundle } from "../../gpu-worker/bundle.ts";
import { InputBuilder } from "../../gpu-worker/inputs.ts";
import { KvBudget, KvCache } from "../../gpu-worker/kv-cache.ts";
import { loadModel } from "../../gpu-worker/onnx/session.ts";
import { createThreadEngine } from "../../gpu-worker/threaded.ts";
import { chain, type DraftTree, EMPTY_TREE } from "../../shared/draft-tree.ts";
import { median } from "./stats.ts";

/** Prompt tokens: the engine's cache then keeps one capacity while a session commits a token in each round. */
const PAST = 132;
const ROUNDS = 40;
/** What the engine's cache holds midway, so that both attend to as much. */
const BARE_PAST = PAST + ROUNDS / 2;
const ROWS = [1, 2, 4, 8, 16, 32];

export interface EngineCosts {
  /** One forward pass of one row by onnxruntime alone, ms. */
  readonly bareStepMs: number;
  /** The same through the gpu-worker's engine: its thread, queue, verification and cache, ms. */
  readonly engineStepMs: number;
  /** The same two at 8 rows. */
  readonly bareStep8Ms: number;
  readonly engineStep8Ms: number;
  /** Rows -> ms of a bare forward pass. */
  readonly costCurveMs: Readonly<Record<string, number>>;
}

/** Bare onnxruntime beside the engine, in turn, on caches of the same length; medians. */
export async function measureEngine(bundleDir: string): Promise<EngineCosts> {
  const threads = availableParallelism();
  const bundle = await readBundle(bundleDir);
  const model = await loadModel(bundle, { provider: "cpu", threads, spinning: true });
  const engine = await createThreadEngine(bundleDir, { threads });
  const signal = new AbortController().signal;
  const vocab = bundle.shape.vocabSize;
  const text = Uint32Array.from({ length: BARE_PAST }, (_, i) => (i * 7919 + 11) % vocab);
  const prompt = text.subarray(0, PAST);
  const cache = new KvCache(bundle.shape, new KvBudget(Infinity));
  const inputs = new InputBuilder();
  const wanted = { logits: false, hidden: false };
  const first = await model.forward(inputs.chain(text, 0, cache.buffers.capacity), cache.buffers, wanted);
  cache.append(first.newKv, BARE_PAST, [...text.keys()]);
  const bare = async (draft: DraftTree) => {
    const at = performance.now();
    await model.forward(inputs.tree(5, draft, BARE_PAST, cache.buffers.capacity), cache.buffers, wanted);
    return performance.now() - at;
  };
  // Token 0 is a control token that the model never writes here: the draft is rejected, the cache stays short.
  const rejected = (rows: number) => (rows === 1 ? EMPTY_TREE : chain(new Uint32Array(rows - 1)));
  const spec = {
    model: bundle.name,
    prompt,
    heads: 0,
    topK: 1,
    sampling: { temperature: 0, topP: 1, seed: 0 },
    logProbs: null,
    neural: null,
  };
  const timed = async (rows: number) => {
    const session = await engine.open(spec, signal);
    const bareMs: number[] = [];
    const engineMs: number[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      bareMs.push(await bare(rejected(rows)));
      const at = performance.now();
      await session.step(i, rejected(rows), signal);
      engineMs.push(performance.now() - at);
    }
    session.close();
    return { bare: median(bareMs), engine: median(engineMs) };
  };
  try {
    const one = await timed(1);
    const eight = await timed(8);
    const costCurveMs: Record<string, number> = {};
    for (const rows of ROWS) {
      const times: number[] = [];
      for (let i = 0; i < ROUNDS / 2; i++) times.push(await bare(rejected(rows)));
      costCurveMs[rows] = median(times);
    }
    return {
      bareStepMs: one.bare,
      engineStepMs: one.engine,
      bareStep8Ms: eight.bare,
      engineStep8Ms: eight.engine,
      costCurveMs,
    };
  } finally {
    await engine.close();
    await model.release();
  }
}
