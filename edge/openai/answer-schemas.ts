import * as z from "zod";
import { PLACEMENTS } from "../../shared/decode/placement.ts";
import { TOKEN_SOURCES } from "../../shared/decode/receipt.ts";
import { ERRORS } from "../../shared/errors.ts";

/** What is answered, for the OpenAPI document. Tests hold real answers and every event of real streams against it. */

export const errorBody = z.strictObject({
  error: z.strictObject({
    message: z.string(),
    type: z.string(),
    param: z.string().nullable().meta({ description: "The field at fault, e.g. speculation.rescorer.alpha." }),
    code: z.enum(Object.keys(ERRORS)),
  }),
});

const usage = z.strictObject({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  prompt_tokens_details: z.strictObject({ cached_tokens: z.int() }),
  completion_tokens_details: z.strictObject({
    reasoning_tokens: z.int(),
    accepted_prediction_tokens: z.int(),
    rejected_prediction_tokens: z.int(),
  }),
});

const place = z.enum(["edge", "gpu"]);
const counts = z.array(z.int());

export const metrics = z.strictObject({
  speculative_decoding: z
    .strictObject({
      mean_acceptance_length: z.number(),
      draft_acceptance_rate: z.number(),
      acceptance_histogram: counts,
      acceptance_histogram_by_draft_length: z.record(z.string(), counts),
      num_spec_steps: z.int(),
      num_accepted_draft_tokens: z.int(),
      num_draft_tokens: z.int(),
      num_spec_tokens: z.int(),
      per_step_accepted: counts.optional(),
      per_step_drafted: counts.optional(),
    })
    .nullable(),
  block_efficiency: z.number(),
  receipt: z
    .strictObject({
      steps: z.int(),
      block_efficiency: z.strictObject({ unrefined: z.number(), refined: z.number(), best: z.number() }),
      tokens: z.strictObject(Object.fromEntries(TOKEN_SOURCES.map((source) => [source, z.int()]))),
      per_step: z.array(z.array(z.int()).length(3)).meta({ description: "Of each: unrefined, refined, best." }),
    })
    .optional(),
  placement: z.strictObject({
    chosen: place,
    mode: z.enum(PLACEMENTS),
    steps: z.strictObject({ edge: z.int(), gpu: z.int() }),
    round_trip_ms: z.number().nullable(),
    step_ms: z.number().nullable(),
    draft_ms: z.number(),
    gain: z.number(),
  }),
  timings: z.strictObject({
    queue_ms: z.number(),
    prefill_ms: z.number(),
    ttft_ms: z.number(),
    total_ms: z.number(),
    tokens_per_second: z.number(),
    step_ms: z.strictObject({ p50: z.number(), p95: z.number() }),
    round_trip_ms: z.strictObject({ p50: z.number() }),
  }),
});

const trace = z.strictObject({
  step: z.int(),
  accepted: z.array(z.string()),
  bonus: z.string().nullable(),
  drafted: z.array(z.strictObject({ id: z.int(), text: z.string(), parent: z.int(), accepted: z.boolean() })),
  rejected: z.int(),
  place,
  step_ms: z.number(),
  model_ms: z.number(),
});

const tokenLogProb = { token: z.string(), logprob: z.number(), bytes: counts };
export const entries = z.array(
  z.strictObject({ ...tokenLogProb, top_logprobs: z.array(z.strictObject(tokenLogProb)) }),
);
const chatLogProbs = z.strictObject({ content: entries, refusal: z.null() }).nullable();
const textLogProbs = z
  .strictObject({
    tokens: z.array(z.string()),
    token_logprobs: z.array(z.number()),
    top_logprobs: z.array(z.record(z.string(), z.number())),
    text_offset: counts,
  })
  .nullable();

const finish = z.enum(["stop", "length", "tool_calls"]);
const toolCall = z.strictObject({
  id: z.string(),
  type: z.literal("function"),
  function: z.strictObject({ name: z.string(), arguments: z.string() }),
});
/** The first part of a call has its id and name; the others go on with its arguments. */
const toolCallPart = z.strictObject({
  index: z.int(),
  id: z.string().optional(),
  type: z.literal("function").optional(),
  function: z.strictObject({ name: z.string().optional(), arguments: z.string().optional() }),
});
const head = { id: z.string(), created: z.int(), model: z.string(), system_fingerprint: z.string() };
const wholeRest = { usage, metrics, speculation: z.strictObject({ steps: z.array(trace) }).optional() };
const chunkRest = {
  obfuscation: z.string().optional().meta({ description: "Noise that fills a padded chunk up." }),
  usage: usage.nullable().optional(),
  metrics: metrics.optional(),
  speculation: trace.optional(),
};

export const chatCompletion = z.strictObject({
  ...head,
  object: z.literal("chat.completion"),
  choices: z.array(
    z.strictObject({
      index: z.int(),
      message: z.strictObject({
        role: z.literal("assistant"),
        content: z.string().nullable().meta({ description: "null where the answer is calls of tools alone." }),
        refusal: z.null(),
        annotations: z.array(z.never()),
        tool_calls: z.array(toolCall).optional(),
      }),
      logprobs: chatLogProbs,
      finish_reason: finish,
    }),
  ),
  ...wholeRest,
});

export const chatChunk = z.strictObject({
  ...head,
  object: z.literal("chat.completion.chunk"),
  choices: z.array(
    z.strictObject({
      index: z.int(),
      delta: z.strictObject({
        role: z.literal("assistant").optional(),
        content: z.string().optional(),
        tool_calls: z.array(toolCallPart).optional(),
      }),
      logprobs: chatLogProbs,
      finish_reason: finish.nullable(),
    }),
  ),
  ...chunkRest,
});

const textChoice = { index: z.int(), text: z.string(), logprobs: textLogProbs };
const textHead = { ...head, object: z.literal("text_completion") };

export const completion = z.strictObject({
  ...textHead,
  choices: z.array(z.strictObject({ ...textChoice, finish_reason: finish })),
  ...wholeRest,
});

export const completionChunk = z.strictObject({
  ...textHead,
  choices: z.array(z.strictObject({ ...textChoice, finish_reason: finish.nullable() })),
  ...chunkRest,
});

export const tokenized = z.strictObject({
  count: z.int(),
  max_model_len: z.int(),
  tokens: counts,
  token_strs: z.array(z.string()).nullable(),
});

export const detokenized = z.strictObject({ prompt: z.string() });
