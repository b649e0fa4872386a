import * as z from "zod";
import { PLACEMENTS } from "../../shared/decode/placement.ts";
import { LIMITS } from "../../shared/limits.ts";
import { RESCORER_TYPES } from "../../shared/rescore/index.ts";
import { PARAM_NAMES, PARAMS, wireName } from "../../shared/rescore/params.ts";

/** Wire bodies, in OpenAI's snake_case. Unknown fields are errors; params.ts reports them by name. */

const textPart = z.strictObject({ type: z.literal("text"), text: z.string() });

const message = z.strictObject({
  role: z.enum(["system", "developer", "user", "assistant"]),
  content: z.union([z.string(), z.array(textPart).min(1).max(LIMITS.contentParts)], {
    error: "expected a string or an array of {type: 'text', text} parts",
  }),
  name: z.string().nullish().meta({ description: "Accepted and ignored." }),
  refusal: z.null().optional().meta({ description: "Accepted so that a returned message can be sent back." }),
});

const stopString = z.string().min(1).max(LIMITS.stopLength);

const rescorerParams = Object.fromEntries(
  PARAM_NAMES.map((name) => [wireName(name), PARAMS[name].nullish().meta(PARAMS[name].meta() ?? {})]),
);

const rescorer = z
  .strictObject({
    type: z.enum(RESCORER_TYPES).nullish(),
    model: z.string().min(1).nullish().meta({ description: "Name of an n-gram pack of the bundle." }),
    ...rescorerParams,
  })
  .meta({ description: "How the lattice is refined. Omitted fields take the bundle's defaults." });

const speculation = z
  .strictObject({
    enabled: z.boolean().nullish().meta({ description: "false: plain autoregressive decoding. Default true." }),
    heads: z
      .int()
      .min(1)
      .max(LIMITS.latticeHeads)
      .nullish()
      .meta({ description: "Draft heads used, at most the bundle's. Given explicitly, every step drafts this deep." }),
    top_k: z.int().min(1).max(LIMITS.topK).nullish().meta({ description: "Candidates kept per head." }),
    max_nodes: z
      .int()
      .min(0)
      .max(LIMITS.draftNodes)
      .nullish()
      .meta({ description: "Drafted tokens per step. Default: chosen each step from the engine's cost curve." }),
    rescorer: rescorer.nullish(),
    placement: z.enum(PLACEMENTS).nullish().meta({
      description: "Who drafts: the edge, the gpu-worker, or whoever is faster by measured round trip (auto).",
    }),
    receipt: z.boolean().nullish().meta({
      description: "Adds to `metrics` what this answer's steps would have committed unrefined and at best.",
    }),
    trace: z.boolean().nullish().meta({ description: "Adds a `speculation` object to every chunk." }),
  })
  .meta({ description: "Drafting of this request. It changes speed only, never the text." });

const common = {
  model: z.string().nullish().meta({ description: "Default: the first model of /v1/models." }),
  max_tokens: z.int().min(1).max(LIMITS.completionTokens).nullish(),
  temperature: z.number().min(0).max(2).nullish().meta({ description: "Default 1; 0 is greedy." }),
  top_p: z.number().gt(0).max(1).nullish(),
  seed: z.int().nullish().meta({ description: "The same seed gives the same text, however it was drafted." }),
  stop: z
    .union([stopString, z.array(stopString).max(LIMITS.stopStrings)], {
      error: `expected 1 to ${LIMITS.stopStrings} strings of 1 to ${LIMITS.stopLength} characters`,
    })
    .nullish(),
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({ include_usage: z.boolean().nullish(), include_obfuscation: z.boolean().nullish() })
    .nullish(),
  speculation: speculation.nullish(),
};

export const chatBody = z.strictObject({
  ...common,
  messages: z.array(message).min(1).max(LIMITS.chatMessages),
  max_completion_tokens: z.int().min(1).max(LIMITS.completionTokens).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(LIMITS.topLogProbs).nullish(),
});

export const completionBody = z.strictObject({
  ...common,
  prompt: z
    .union([z.string(), z.array(z.string()), z.array(z.int().min(0))], {
      error: "expected a string, an array of one string or an array of token ids",
    })
    .meta({ description: "One prompt. Control tokens spelled out in it count as such; in chat messages they do not." }),
  logprobs: z.int().min(0).max(LIMITS.topLogProbs).nullish(),
});

export type ChatBody = z.infer<typeof chatBody>;
export type CompletionBody = z.infer<typeof completionBody>;
