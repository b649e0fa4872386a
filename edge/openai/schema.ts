import * as z from "zod";
import { PLACEMENTS } from "../../shared/decode/placement.ts";
import { LIMITS } from "../../shared/limits.ts";
import { RESCORER_TYPES } from "../../shared/rescore/index.ts";
import { PARAM_NAMES, PARAMS, wireName } from "../../shared/rescore/params.ts";
import { samplingFields } from "./sampling.ts";
import { structuredFields } from "./structured.ts";
import { toolCalls, toolFields } from "./tools.ts";

/** Wire bodies, in OpenAI's snake_case. Unknown fields are errors; params.ts reports them by name. */

const textPart = z.strictObject({ type: z.literal("text"), text: z.string() });

/** Of an assistant that declined; what it said. */
export const refusalPart = z.strictObject({ type: z.literal("refusal"), refusal: z.string() });

const textContent = z.union([z.string(), z.array(textPart).min(1).max(LIMITS.contentParts)], {
  error: "expected a string or an array of {type: 'text', text} parts",
});

const messageContent = z.union(
  [
    z.string(),
    z
      .array(z.discriminatedUnion("type", [textPart, refusalPart]))
      .min(1)
      .max(LIMITS.contentParts),
  ],
  { error: "expected a string or an array of {type: 'text', text} parts" },
);

const message = z.strictObject({
  role: z.enum(["system", "developer", "user", "assistant", "tool"]),
  content: messageContent,
  tool_calls: toolCalls.nullish().meta({ description: "Calls that an assistant's message made." }),
  tool_call_id: z.string().max(LIMITS.nameLength).nullish().meta({ description: "What a tool's message answers." }),
  refusal: z.string().nullish().meta({ description: "What an assistant said that declined; part of its content." }),
});

const stopString = z.string().min(1).max(LIMITS.stopLength);

const rescorerParams = Object.fromEntries(
  PARAM_NAMES.map((name) => [wireName(name), PARAMS[name].nullish().meta(PARAMS[name].meta() ?? {})]),
);

const rescorer = z
  .strictObject({
    type: z.enum(RESCORER_TYPES).nullish(),
    model: z.string().min(1).nullish().meta({
      description: "Name of an n-gram pack of the bundle, or name or hash of one that this API key has uploaded.",
    }),
    ...rescorerParams,
    memory: z.boolean().nullish().meta({
      description: "Copies of this API key's earlier texts take part, too, and this one is remembered. Default false.",
    }),
  })
  .meta({ description: "How the lattice is refined. Omitted fields take the bundle's defaults." });

export const speculation = z
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
    forced: z.boolean().nullish().meta({
      description: "false: drafts are made as if there were no grammar. Default true.",
    }),
    receipt: z.boolean().nullish().meta({
      description: "Adds to `metrics` what this answer's steps would have committed unrefined and at best.",
    }),
    trace: z.boolean().nullish().meta({ description: "Adds a `speculation` object to every chunk." }),
  })
  .meta({ description: "Drafting of this request. It changes speed only, never the text." });

const maxTokens = z.int().min(1).nullish().meta({ description: "Cut to what the context leaves." });

const common = {
  model: z.string().nullish().meta({ description: "Default: the first model of /v1/models." }),
  max_tokens: maxTokens,
  ...samplingFields,
  n: z.int().min(1).max(LIMITS.choices).nullish().meta({
    description: "Choices, each with a seed of its own: choice i is what seed + i gives.",
  }),
  stop: z
    .union([stopString, z.array(stopString).max(LIMITS.stopStrings)], {
      error: `expected 1 to ${LIMITS.stopStrings} strings of 1 to ${LIMITS.stopLength} characters`,
    })
    .nullish(),
  prediction: z
    .strictObject({ type: z.literal("content"), content: textContent })
    .nullish()
    .meta({ description: "What the answer is likely to repeat much of: drafts are copied from it." }),
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({
      include_usage: z.boolean().nullish(),
      include_obfuscation: z.boolean().nullish().meta({ description: "Fills chunks up with noise, as `pad` does." }),
      pad: z
        .boolean()
        .nullish()
        .meta({ description: "Sizes of chunks tell nothing of how many tokens were accepted." }),
    })
    .nullish(),
  speculation: speculation.nullish(),
  ...structuredFields,
};

export const chatBody = z.strictObject({
  ...common,
  messages: z.array(message).min(1).max(LIMITS.chatMessages),
  max_completion_tokens: maxTokens,
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(LIMITS.topLogProbs).nullish(),
  ...toolFields,
});

export const completionBody = z.strictObject({
  ...common,
  prompt: z
    .union(
      [
        z.string(),
        // The one that may be long comes before others that would find something wrong with each of its items.
        z.array(z.int().min(0)),
        z.array(z.string()).max(LIMITS.choices),
        z.array(z.array(z.int().min(0)).min(1)).max(LIMITS.choices),
      ],
      { error: "expected a string, a list of token ids, or a list of such prompts" },
    )
    .meta({
      description: "One or several prompts. Control tokens spelled out in them count as such; in chat messages not.",
    }),
  echo: z.boolean().nullish().meta({ description: "The prompt comes before the completion." }),
  logprobs: z.int().min(0).max(LIMITS.topLogProbs).nullish(),
});

export type ChatBody = z.infer<typeof chatBody>;
export type CompletionBody = z.infer<typeof completionBody>;
export type SpeculationBody = z.infer<typeof speculation>;
