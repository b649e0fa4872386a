import { type Model, PAGE_TOKENS } from "../../gpu-worker/model.ts";
import { tokenLogProbs } from "../../gpu-worker/sampling/log-probs.ts";
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

/** Runs the base model over `prompt` and `target`, at least one token each; its cache is taken to be free. */
export async function targetLogProbs(
  model: Model,
  prompt: Uint32Array,
  target: readonly TokenId[],
): Promise<TargetLogProbs> {
  await prefill(model, prompt.subarray(0, -1));
  const drafted = await draftedLogProbs(model, prompt, target);
  // The same tokens again over what the step before left there.
  return { drafted, plain: await plainLogProbs(model, prompt, target) };
}

/** Pages that hold `tokens` tokens. */
function pagesFor(tokens: number): Int32Array {
  return Int32Array.from({ length: Math.ceil(tokens / PAGE_TOKENS) }, (_, i) => i);
}

async function prefill(model: Model, tokens: Uint32Array): Promise<void> {
  for (let length = 0; length < tokens.length; length += model.maxRows) {
    const rows = tokens.subarray(length, length + model.maxRows);
    const pages = pagesFor(length + rows.length);
    await model.forward([{ length, pages, tokens: rows, parents: null, wanted: "none", logits: false }]);
  }
}

async function draftedLogProbs(model: Model, prompt: Uint32Array, target: readonly TokenId[]): Promise<LogProb[]> {
  const nodes = Array.from({ length: Math.max(target.length, DRAFT_NODES) }, (_, i) => target[i] ?? target.at(-1)!);
  const tokens = Uint32Array.of(prompt.at(-1)!, ...nodes);
  const length = prompt.length - 1;
  const pages = pagesFor(length + tokens.length);
  const { logits } = await model.forward([{ length, pages, tokens, parents: null, wanted: "all", logits: true }]);
  return target.map((token, row) => tokenLogProbs(logits(row), token, 0).logProb);
}

async function plainLogProbs(model: Model, prompt: Uint32Array, target: readonly TokenId[]): Promise<LogProb[]> {
  const logProbs: LogProb[] = [];
  let at = prompt.at(-1)!;
  for (const [i, token] of target.entries()) {
    const length = prompt.length - 1 + i;
    const pages = pagesFor(length + 1);
    const tokens = Uint32Array.of(at);
    const { logits } = await model.forward([{ length, pages, tokens, parents: null, wanted: "last", logits: true }]);
    logProbs.push(tokenLogProbs(logits(0), token, 0).logProb);
    at = token;
  }
  return logProbs;
}

/** Per target, not per token, as LAMBADA counts: exp of the mean over targets of -sum log p. */
export function perplexity(targets: readonly (readonly LogProb[])[]): number {
  const sums = targets.map((logProbs) => logProbs.reduce((sum, logProb) => sum + logProb, 0));
  return Math.exp(-sums.reduce((a, b) => a + b, 0) / targets.length);
}
