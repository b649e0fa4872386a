import type { TokenLogProbs } from "../../shared/engine.ts";
import type { TokenId } from "../../shared/ids.ts";
import { LIMITS } from "../../shared/limits.ts";
import { complete, type Parts, type Task } from "./complete.ts";
import type { Method } from "./methods.ts";

/** Why a method's greedy text is not plain decoding's. */
export interface Difference {
  /** Index of the first differing completion token. */
  readonly at: number;
  readonly plainToken: TokenId;
  readonly methodToken: TokenId;
  /**
   * Logit of the plain token minus the method's, seen one row at a time and in the method's own pass;
   * null where the other token was not even among the likeliest LIMITS.topLogProbs.
   */
  readonly plainGap: number | null;
  readonly methodGap: number | null;
  readonly floatTie: boolean;
}

/**
 * A provider may sum in another order when several rows share a pass. A gap between two logits below this
 * is what that alone can turn over; a larger one is a fault.
 */
const TIE_LOGITS = 0.01;

const PLAIN: Method = { name: "ar", draft: { type: "plain" }, heads: 0, topK: 1, maxNodes: 0 };

/** Runs both again up to their first difference, with log-probabilities; null where they agree. */
export async function explainDifference(
  task: Task,
  method: Method,
  parts: Parts,
  plain: readonly TokenId[],
  other: readonly TokenId[],
): Promise<Difference | null> {
  const length = Math.max(plain.length, other.length);
  let at = 0;
  while (at < length && plain[at] === other[at]) at++;
  const plainToken = plain[at];
  const methodToken = other[at];
  if (plainToken === undefined || methodToken === undefined) return null;
  const alone = await complete(task, PLAIN, parts, plain, LIMITS.topLogProbs);
  const drafted = await complete(task, method, parts, plain, LIMITS.topLogProbs);
  const plainGap = gap(alone.logProbs[at] ?? null, plainToken, methodToken);
  const methodGap = gap(drafted.logProbs[at] ?? null, plainToken, methodToken);
  const floatTie =
    plainGap !== null && methodGap !== null && Math.abs(plainGap) <= TIE_LOGITS && Math.abs(methodGap) <= TIE_LOGITS;
  return { at, plainToken, methodToken, plainGap, methodGap, floatTie };
}

/** logit(a) - logit(b): the softmax's normaliser cancels. */
function gap(logProbs: TokenLogProbs | null, a: TokenId, b: TokenId): number | null {
  if (logProbs === null) return null;
  const [first, second] = [a, b].map((token) => logProbs.topLogProbs[logProbs.topTokens.indexOf(token)]);
  return first === undefined || second === undefined ? null : first - second;
}
