import type { TokenId } from "../shared/ids.ts";

/** Tokens kept by top-p: those with a higher logit, and those with this one up to `lastToken`. */
export interface Floor {
  readonly logit: number;
  readonly lastToken: TokenId;
}

export const EVERY_TOKEN: Floor = { logit: -Infinity, lastToken: Infinity };

/** Buckets per unit of logit / T below the highest, and how many; the last one takes all the rest. */
const PER_UNIT = 16;
const BUCKETS = 1024;

/**
 * The smallest set of likeliest tokens (lower ids first among equals) whose probability at `temperature` sums to
 * at least `topP`; never empty. (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020.) Finds the
 * bucket in which the sum is reached and sorts only that one.
 */
export function nucleus(logits: Float32Array, temperature: number, topP: number): Floor {
  let top = -Infinity;
  for (let token = 0; token < logits.length; token++) top = Math.max(top, logits[token]!);
  const below = (logit: number) => (top - logit) / temperature;
  const bucketOf = (distance: number) => Math.min(BUCKETS - 1, Math.floor(distance * PER_UNIT));

  const mass = new Float64Array(BUCKETS);
  for (let token = 0; token < logits.length; token++) {
    const distance = below(logits[token]!);
    mass[bucketOf(distance)]! += Math.exp(-distance);
  }
  const wanted = topP * mass.reduce((sum, value) => sum + value, 0);
  let reached = 0;
  let bucket = 0;
  while (bucket < BUCKETS - 1 && reached + mass[bucket]! < wanted) reached += mass[bucket++]!;

  const inBucket: TokenId[] = [];
  for (let token = 0; token < logits.length; token++) {
    if (bucketOf(below(logits[token]!)) === bucket) inBucket.push(token);
  }
  inBucket.sort((a, b) => logits[b]! - logits[a]! || a - b);
  for (const token of inBucket) {
    reached += Math.exp(-below(logits[token]!));
    if (reached >= wanted) return { logit: logits[token]!, lastToken: token };
  }
  // Only rounding leads here: the whole bucket is needed.
  const last = inBucket.at(-1)!;
  return { logit: logits[last]!, lastToken: last };
}
