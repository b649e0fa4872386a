import type { Sampling } from "../../shared/engine.ts";
import type { TokenId } from "../../shared/ids.ts";
import { isKept, keptBy } from "./nucleus.ts";

/*
 * Sampling by the Gumbel-max trick: argmax(logit / T + g) with independent standard Gumbel noise g per token is
 * distributed as softmax(logit / T) (Gumbel 1954; Maddison, Tarlow, Minka, "A* Sampling", 2014). The noise is a
 * hash of (seed, position, token) and of nothing else, so what was drafted cannot change the text.
 */

/** A little above log 2, so that the bound below stays a bound in floating point. */
const BIT_NATS = Math.LN2 * (1 + 1e-9);

/**
 * The token at `position` (0 is the first prompt token), given the logits for it, adjusted where they are to be.
 * @param logits [vocab]
 */
export function sampleToken(logits: Float32Array, sampling: Sampling, position: number): TokenId {
  const top = highest(logits);
  const { temperature, seed } = sampling;
  if (temperature === 0) return top;
  const topLogit = logits[top]!;
  const floor = keptBy(sampling, logits, topLogit);
  const key = noiseKey(seed, position);
  const scale = 1 / temperature;
  let best = top;
  let bestScore = gumbel(noise(key, top));
  for (let token = 0; token < logits.length; token++) {
    const logit = logits[token]!;
    if (!isKept(floor, logit, token)) continue;
    // Relative to the likeliest token: at a tiny temperature the products would not be finite.
    const score = (logit - topLogit) * scale;
    const bits = noise(key, token);
    // g = -log(-log u) <= -log(1 - u), and 1 - u > 2^-(z + 1) with z leading ones in u. Most tokens end here.
    if (score + (Math.clz32(~bits) + 1) * BIT_NATS < bestScore) continue;
    const noisy = score + gumbel(bits);
    if (noisy > bestScore || (noisy === bestScore && token < best)) {
      best = token;
      bestScore = noisy;
    }
  }
  return best;
}

/** The lowest id among the highest logits. */
export function highest(logits: Float32Array): TokenId {
  let best = 0;
  for (let token = 1; token < logits.length; token++) if (logits[token]! > logits[best]!) best = token;
  return best;
}

/** The noise that `token` gets at `position`, one by one; sampleToken computes no more of it than it must. */
export function gumbelNoise(seed: number, position: number, token: TokenId): number {
  return gumbel(noise(noiseKey(seed, position), token));
}

function noiseKey(seed: number, position: number): number {
  return mix(mix(seed ^ 0x9e3779b9) ^ Math.imul(position + 1, 0x85ebca6b));
}

/** 32 bits, uniform. */
function noise(key: number, token: TokenId): number {
  return mix(key + Math.imul(token + 1, 0x9e3779b9));
}

/** Standard Gumbel noise of 32 uniform bits; u = (bits + 1/2) / 2^32 is never 0 or 1. */
function gumbel(bits: number): number {
  return -Math.log(-Math.log(((bits >>> 0) + 0.5) / 4294967296));
}

/** A bijection of 32-bit integers with low bias: Chris Wellons' "lowbias32" (hash-prospector). */
function mix(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return x ^ (x >>> 15);
}
