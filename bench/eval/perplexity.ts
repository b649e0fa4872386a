import { InputBuilder } from "../../gpu-worker/inputs.ts";
import { KvBudget, KvCache } from "../../gpu-worker/kv-cache.ts";
import { tokenLogProbs } from "../../gpu-worker/log-probs.ts";
import type { Model } from "../../gpu-worker/model.ts";
import { chain, EMPTY_TREE } from "../../shared/draft-tree.ts";
import type { LogProb, TokenId } from "../../shared/ids.ts";

/** Nodes of the pass that verifies a target as a draft, where the target itself is shorter. */
const DRAFT_NODES = 8;

/** A text's continuation as the base model judges it, natural logs, one per target token. */
export interface TargetLogProbs {
  /** As plain decoding sees them: one row a pass. */
  readonly plain: readonly LogProb[];
  /** As a step sees them: the target drafted and verified in one pass of many rows. */
  readonly drafted: readonly LogProb[];
}

/** Runs the base model over `prompt` and `target`, at least one token each. */
export async function targetLogProbs(
  model: Model,
  prompt: Uint32Array,
  target: readonly TokenId[],
): Promise<TargetLogProbs> {
  const drafted = await withPrompt(model, prompt, (root, cache, inputs) =>
    draftedLogProbs(model, root, cache, inputs, target),
  );
  const plain = await withPrompt(model, prompt, (root, cache, inputs) =>
    plainLogProbs(model, root, cache, inputs, target),
  );
  return { plain, drafted };
}

/** `use` gets the prompt's last token as root and a cache of the tokens before it. */
async function withPrompt<Result>(
  model: Model,
  prompt: Uint32Array,
  use: (root: TokenId, cache: KvCache, inputs: InputBuilder) => Promise<Result>,
): Promise<Result> {
  const cache = new KvCache(model.shape, new KvBudget(Infinity));
  const inputs = new InputBuilder();
  const before = prompt.subarray(0, -1);
  try {
    if (before.length > 0) {
      const chained = inputs.chain(before, 0, cache.buffers.capacity);
      const { newKv } = await model.forward(chained, cache.buffers, { logits: false, hidden: false });
      cache.append(newKv, before.length, [...before.keys()]);
    }
    return await use(prompt.at(-1)!, cache, inputs);
  } finally {
    cache.release();
  }
}

async function draftedLogProbs(
  model: Model,
  root: TokenId,
  cache: KvCache,
  inputs: InputBuilder,
  target: readonly TokenId[],
): Promise<LogProb[]> {
  const nodes = Array.from({ length: Math.max(target.length, DRAFT_NODES) }, (_, i) => target[i] ?? target.at(-1)!);
  const tree = inputs.tree(root, chain(nodes), cache.length, cache.buffers.capacity);
  const { logits } = await model.forward(tree, cache.buffers, { logits: true, hidden: false });
  return target.map((token, row) => logProbOf(model, logits, row, token));
}

async function plainLogProbs(
  model: Model,
  root: TokenId,
  cache: KvCache,
  inputs: InputBuilder,
  target: readonly TokenId[],
): Promise<LogProb[]> {
  const logProbs: LogProb[] = [];
  let at = root;
  for (const token of target) {
    const row = inputs.tree(at, EMPTY_TREE, cache.length, cache.buffers.capacity);
    const { logits, newKv } = await model.forward(row, cache.buffers, { logits: true, hidden: false });
    logProbs.push(logProbOf(model, logits, 0, token));
    cache.append(newKv, 1, [0]);
    at = token;
  }
  return logProbs;
}

/** @param logits [rows, vocab] */
function logProbOf(model: Model, logits: Float32Array | null, row: number, token: TokenId): LogProb {
  const { vocabSize } = model.shape;
  if (logits === null) throw new Error("the model gave no logits");
  return tokenLogProbs(logits.subarray(row * vocabSize, (row + 1) * vocabSize), token, 1).logProb;
}

/** Per target, not per token, as LAMBADA counts: exp of the mean over targets of -sum log p. */
export function perplexity(targets: readonly (readonly LogProb[])[]): number {
  const sums = targets.map((logProbs) => logProbs.reduce((sum, logProb) => sum + logProb, 0));
  return Math.exp(-sums.reduce((a, b) => a + b, 0) / targets.length);
}
