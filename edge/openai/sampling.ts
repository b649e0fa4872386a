import * as z from "zod";
import type { Adjustments, Sampling } from "../../shared/engine.ts";
import { LIMITS } from "../../shared/limits.ts";

const penalty = z.number().min(-LIMITS.penalty).max(LIMITS.penalty).nullish();

/** Seeds have 64 bits with some clients; those beyond 2^53 have lost their last digits in JSON's numbers already. */
const SEED = 2 ** 64;

/** Request fields that say how tokens are chosen. */
export const samplingFields = {
  temperature: z.number().min(0).max(2).nullish().meta({ description: "Default 1; 0 is greedy." }),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(-1).nullish().meta({ description: "Keeps so many of the likeliest tokens; 0 and -1 keep all." }),
  min_p: z.number().min(0).max(1).nullish().meta({
    description: "Keeps tokens at least so likely, relative to the likeliest; 0 keeps all.",
  }),
  seed: z
    .number()
    .min(-SEED)
    .max(SEED)
    .refine(Number.isInteger, "expected int, received number")
    .meta({ type: "integer", description: "The same seed gives the same text, however it was drafted." })
    .nullish(),
  presence_penalty: penalty,
  frequency_penalty: penalty,
  repetition_penalty: z.number().min(LIMITS.leastRepetition).max(LIMITS.repetition).nullish().meta({
    description: "Divides positive logits of tokens of prompt and answer and multiplies the others; 1 changes nothing.",
  }),
  logit_bias: z
    .record(z.string().regex(/^\d{1,9}$/, "expected token ids as names"), z.number().min(-LIMITS.bias).max(LIMITS.bias))
    .nullish()
    .meta({ description: `Added to the logits of these tokens, by id; at most ${LIMITS.biases}.` }),
};

export type SamplingBody = z.infer<z.ZodObject<typeof samplingFields>>;

/** Fields that ask for nothing leave nothing. */
export function samplingOf(wire: SamplingBody): Omit<Sampling, "seed"> {
  const { temperature, top_p: topP, top_k: topK, min_p: minP } = wire;
  const adjust = adjustments(wire);
  return {
    temperature: temperature ?? 1,
    topP: topP ?? 1,
    ...(topK != null && topK > 0 ? { topK: Math.min(topK, 0xffffffff) } : {}),
    ...(minP != null && minP > 0 ? { minP } : {}),
    ...(adjust === null ? {} : { adjust }),
  };
}

function adjustments(wire: SamplingBody): Adjustments | null {
  const bias = Object.entries(wire.logit_bias ?? {}).filter(([, value]) => value !== 0);
  const frequency = wire.frequency_penalty ?? 0;
  const presence = wire.presence_penalty ?? 0;
  const repetition = wire.repetition_penalty ?? 1;
  if (bias.length === 0 && frequency === 0 && presence === 0 && repetition === 1) return null;
  return {
    biasTokens: Uint32Array.from(bias, ([token]) => Number(token)),
    biases: Float32Array.from(bias, ([, value]) => value),
    repetition,
    frequency,
    presence,
  };
}

/** Seeds of up to 32 bits, of either sign, as they are; of longer ones both halves count. */
export function seedOf(seed: number): number {
  const whole = BigInt(seed);
  const high = whole >> 32n;
  const rest = Number(BigInt.asIntN(32, high < 0n ? ~high : high));
  return (Number(BigInt.asIntN(32, whole)) ^ Math.imul(rest, 0x9e3779b1)) >>> 0;
}
