import type { Sampling } from "../../shared/engine.ts";
import type { TokenId } from "../../shared/ids.ts";

/** Tokens kept: those with a higher logit, and those with this one up to `lastToken`. */
export interface Floor {
  readonly logit: number;
  readonly lastToken: TokenId;
}

const EVERY_TOKEN: Floor = { logit: -Infinity, lastToken: Infinity };

/** Buckets per unit of logit / T below the highest, and how many; the last one takes all the rest. */
const PER_UNIT = 16;
const BUCKETS = 1024;

export function isKept(floor: Floor, logit: number, token: TokenId): boolean {
  return logit > floor.logit || (logit === floor.logit && token <= floor.lastToken);
}

/** What min-p, then top-k, then top-p keep; the likeliest token always. `top`: the highest logit. */
export function keptBy({ temperature, topP, topK, minP }: Sampling, logits: Float32Array, top: number): Floor {
  let floor = EVERY_TOKEN;
  if (minP !== undefined) floor = { logit: top + temperature * Math.log(minP), lastToken: Infinity };
  if (topK !== undefined && topK < logits.length) floor = likeliest(logits, topK, floor);
  return topP < 1 ? nucleus(logits, temperature, topP, floor) : floor;
}

/** The `count` likeliest tokens (lower ids first among equals), fewer where `within` keeps fewer. */
export function likeliest(logits: Float32Array, count: number, within: Floor = EVERY_TOKEN): Floor {
  return heaviest(logits, 1, within, { of: () => 1, wanted: (all) => Math.min(count, all) });
}

/**
 * Of the tokens `within`, the smallest set of likeliest ones (lower ids first among equals) whose probability at
 * `temperature` sums to at least `topP`; never empty. (Holtzman et al., "The Curious Case of Neural Text
 * Degeneration", 2020.)
 */
export function nucleus(logits: Float32Array, temperature: number, topP: number, within: Floor = EVERY_TOKEN): Floor {
  return heaviest(logits, temperature, within, {
    of: (distance) => Math.exp(-distance),
    wanted: (all) => topP * all,
  });
}

/** What a token at a distance, logit / T below the highest, weighs, and what is wanted of the weight of all of them. */
interface Weight {
  readonly of: (distance: number) => number;
  readonly wanted: (all: number) => number;
}

/**
 * The fewest likeliest tokens that weigh what is wanted. Finds the bucket in which the sum is reached and sorts only
 * that one.
 */
function heaviest(logits: Float32Array, temperature: number, within: Floor, weight: Weight): Floor {
  let top = -Infinity;
  for (let token = 0; token < logits.length; token++) top = Math.max(top, logits[token]!);
  const below = (logit: number) => (top - logit) / temperature;
  const bucketOf = (distance: number) => Math.min(BUCKETS - 1, Math.floor(distance * PER_UNIT));

  const mass = new Float64Array(BUCKETS);
  for (let token = 0; token < logits.length; token++) {
    if (!isKept(within, logits[token]!, token)) continue;
    const distance = below(logits[token]!);
    mass[bucketOf(distance)]! += weight.of(distance);
  }
  const wanted = weight.wanted(mass.reduce((sum, value) => sum + value, 0));
  let reached = 0;
  let bucket = 0;
  while (bucket < BUCKETS - 1 && reached + mass[bucket]! < wanted) reached += mass[bucket++]!;

  const inBucket: TokenId[] = [];
  for (let token = 0; token < logits.length; token++) {
    const logit = logits[token]!;
    if (bucketOf(below(logit)) === bucket && isKept(within, logit, token)) inBucket.push(token);
  }
  inBucket.sort((a, b) => logits[b]! - logits[a]! || a - b);
  for (const token of inBucket) {
    reached += weight.of(below(logits[token]!));
    if (reached >= wanted) return { logit: logits[token]!, lastToken: token };
  }
  // Only rounding leads here: the whole bucket is needed.
  const last = inBucket.at(-1)!;
  return { logit: logits[last]!, lastToken: last };
}
