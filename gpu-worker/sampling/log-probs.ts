import type { TokenLogProbs } from "../../shared/engine.ts";
import type { TokenId } from "../../shared/ids.ts";
import { type RunnersUp, runnersUpOf } from "../../shared/runners-up.ts";

/**
 * Log-softmax of the raw logits: of the chosen token and of the `count` likeliest (lower ids first among equals).
 * @param logits [vocab]
 */
export function tokenLogProbs(logits: Float32Array, chosen: TokenId, count: number): TokenLogProbs {
  const topTokens = likeliest(logits, Math.max(1, Math.min(count, logits.length)));
  const top = logits[topTokens[0]!]!;
  let sum = 0;
  for (let token = 0; token < logits.length; token++) sum += Math.exp(logits[token]! - top);
  const logSum = Math.log(sum);
  const logProb = (token: TokenId) => Math.min(0, Math.fround(logits[token]! - top - logSum));
  const reported = topTokens.slice(0, count);
  return {
    logProb: logProb(chosen),
    topTokens: Uint32Array.from(reported),
    topLogProbs: Float32Array.from(reported, logProb),
  };
}

/** The `count` likeliest tokens but `chosen`: fewer where the vocabulary ends. */
export function likeliestBeside(logits: Float32Array, chosen: TokenId, count: number): RunnersUp {
  const tokens = likeliest(logits, Math.min(count + 1, logits.length));
  const row = { tokens, logits: tokens.map((token) => logits[token]!) };
  return runnersUpOf(row, chosen, Math.min(count, logits.length - 1));
}

/** `count` >= 1 tokens by falling logit, lower ids first among equals. */
function likeliest(logits: Float32Array, count: number): TokenId[] {
  const kept: TokenId[] = [];
  for (let token = 0; token < logits.length; token++) {
    const logit = logits[token]!;
    if (kept.length === count && logit <= logits[kept[count - 1]!]!) continue;
    let at = kept.length;
    while (at > 0 && logit > logits[kept[at - 1]!]!) at--;
    kept.splice(at, 0, token);
    if (kept.length > count) kept.pop();
  }
  return kept;
}
