import { chain, EMPTY_TREE } from "../shared/draft-tree.ts";
import type { BundleInfo } from "../shared/engine.ts";
import { InputBuilder } from "./inputs.ts";
import { KvBudget, KvCache } from "./kv-cache.ts";
import type { Model } from "./model.ts";

const ROWS = [1, 2, 4, 8, 16, 32];
const REPETITIONS = 3;
/** Tokens already in the cache while measuring. */
const PAST = 64;
/** On a slow machine the larger sizes are left out: the edge extends the curve in a straight line. */
const BUDGET_MS = 1_500;

/** Times a step (base graph and heads) for draft sizes up to 31 nodes: the least of some repetitions, ms. */
export async function measureCosts(model: Model, now: () => number): Promise<BundleInfo["costCurve"]> {
  const { shape } = model;
  const cache = new KvCache(shape, new KvBudget(Infinity));
  const inputs = new InputBuilder();
  const prompt = Uint32Array.from({ length: PAST }, (_, i) => i % shape.vocabSize);
  const wanted = { logits: false, hidden: shape.latticeHeads > 0 };
  const { newKv } = await model.forward(inputs.chain(prompt, 0, cache.buffers.capacity), cache.buffers, wanted);
  cache.append(newKv, PAST, [...prompt.keys()]);

  const step = async (rows: number) => {
    const draft = rows === 1 ? EMPTY_TREE : chain(prompt.subarray(0, rows - 1));
    const startedAt = now();
    const forward = await model.forward(inputs.tree(0, draft, PAST, cache.buffers.capacity), cache.buffers, wanted);
    if (forward.hidden !== null) await model.heads(forward.hidden.subarray(0, shape.hiddenWidth), 0);
    return now() - startedAt;
  };
  await step(1);
  const beganAt = now();
  const curve: [rows: number, ms: number][] = [];
  for (const rows of ROWS) {
    if (curve.length > 0 && now() - beganAt > BUDGET_MS) break;
    let ms = Infinity;
    for (let i = 0; i < REPETITIONS && (i === 0 || now() - beganAt < BUDGET_MS); i++)
      ms = Math.min(ms, await step(rows));
    // More rows cannot cost less: what says so is noise.
    curve.push([rows, Math.max(ms, curve.at(-1)?.[1] ?? 0)]);
  }
  return curve;
}
