import * as z from "zod";
import { LIMITS } from "../limits.ts";

/**
 * Every setting that some rescorer has, in the API under `speculation.rescorer` (`pBest` as `p_best`), with what
 * readers call it. A descriptor (module.ts) picks its own.
 */
export const PARAMS = {
  order: z.int().min(2).max(LIMITS.ngramOrder).meta({ title: "Order", description: "At most the pack's order." }),
  alpha: z.number().min(0).max(1).meta({
    title: "Weight, alpha",
    description:
      "Weight of the n-gram or neural model, or of `pair`'s scores; 0 leaves it out. `path` and `tree` know any other weight by themselves.",
  }),
  pBest: z.int().min(1).max(LIMITS.pBest).meta({
    title: "Paths, p",
    description: "Paths merged into the draft tree; for types `ngram`, `path` and `pair`.",
  }),
  prompt: z.boolean().meta({
    title: "Copy from prompt and answer",
    description: "n-grams of the prompt and of the text so far take part, and propose tokens themselves.",
  }),
  recycled: z.boolean().meta({
    title: "Recycled candidates",
    description:
      "What the model thought of beside the tokens of this answer is proposed where the same words come again.",
  }),
  pair: z.boolean().meta({
    title: "Pairs that fit",
    description: "How well each candidate follows the one before it, as the model's hidden state has it, takes part.",
  }),
} as const;

export type ParamName = keyof typeof PARAMS;

const partial = z.object(PARAMS).partial();
export type Params = z.infer<typeof partial>;

export const PARAM_NAMES = Object.keys(PARAMS) as readonly ParamName[];

/** As the API spells it. */
export function wireName(name: ParamName): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The settings that are neither null nor left out of an API object, which has been checked. */
export function paramsFromWire(wire: Readonly<Record<string, unknown>>): Params {
  const given = PARAM_NAMES.map((name) => [name, wire[wireName(name)]] as const);
  return partial.parse(Object.fromEntries(given.filter(([, value]) => value != null)));
}

/** Settings under their names in the API. */
export function paramsToWire(params: Params): Record<string, number | boolean> {
  const given = PARAM_NAMES.flatMap((name) => {
    const value = params[name];
    return value === undefined ? [] : [[wireName(name), value] as const];
  });
  return Object.fromEntries(given);
}
