import * as z from "zod";
import { PLACEMENTS } from "../../shared/decode/placement.ts";
import { TOKEN_SOURCES, type TokenSource } from "../../shared/decode/receipt.ts";
import { ERRORS } from "../../shared/errors.ts";

/**
 * What is answered: OpenAI's bodies with two additions, `metrics` and `speculation`. The OpenAPI document and the types
 * of what is written are made from it, and tests hold real answers and every event of real streams against it.
 */

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
  completion_tokens: z
    .int()
    .meta({ description: "What the model wrote and kept: its end token too, not what follows a stop string." }),
  total_tokens: z.int(),
  prompt_tokens_details: z.strictObject({ cached_tokens: z.int() }),
  completion_tokens_details: z.strictObject({
    reasoning_tokens: z.int(),
    accepted_prediction_tokens: z.int(),
    rejected_prediction_tokens: z.int(),
  }),
});

export type Usage = z.infer<typeof usage>;

const place = z.enum(["edge", "gpu"]);
const counts = z.array(z.int());

/** vLLM's names and formulas. */
const speculativeDecoding = z.strictObject({
  mean_acceptance_length: z.number().meta({ description: "1 + accepted / steps" }),
  draft_acceptance_rate: z.number().meta({ description: "accepted / drafted" }),
  acceptance_histogram: counts.meta({ description: "[j]: steps that accepted j drafted tokens" }),
  acceptance_histogram_by_draft_length: z
    .record(z.string(), counts)
    .meta({ description: "The same by how many were drafted." }),
  num_spec_steps: z.int(),
  num_accepted_draft_tokens: z.int(),
  num_draft_tokens: z.int(),
  num_spec_tokens: z.int().meta({ description: "Most nodes that a step may draft." }),
  per_step_accepted: counts.optional().meta({ description: "With speculation.trace." }),
  per_step_drafted: counts.optional().meta({ description: "With speculation.trace." }),
});

const fromSources = Object.fromEntries(TOKEN_SOURCES.map((source) => [source, z.int()])) as Record<
  TokenSource,
  z.ZodInt
>;

const receipt = z.strictObject({
  steps: z.int(),
  block_efficiency: z
    .strictObject({
      unrefined: z.number().meta({ description: "The likeliest candidate of every head, from where each step stood." }),
      refined: z.number().meta({ description: "What was drafted." }),
      best: z.number().meta({ description: "The best path through the heads' candidates." }),
    })
    .meta({ description: "Tokens per step." }),
  tokens: z.strictObject(fromSources).meta({ description: "Of the steps' tokens, how many came from where." }),
  per_step: z
    .array(z.tuple([z.int(), z.int(), z.int()]))
    .meta({ description: "Tokens committed, or that would have been: unrefined, refined, best." }),
});

export type ReceiptBody = z.infer<typeof receipt>;

const metrics = z.strictObject({
  speculative_decoding: speculativeDecoding.nullable().meta({ description: "null where speculation is off." }),
  block_efficiency: z.number().meta({ description: "Tokens per model call after the prefill; plain decoding: 1." }),
  receipt: receipt.optional().meta({ description: "With speculation.receipt." }),
  placement: z.strictObject({
    chosen: place.meta({ description: "Who drafted last." }),
    mode: z.enum(PLACEMENTS),
    steps: z.strictObject({ edge: z.int(), gpu: z.int() }).meta({ description: "Who drafted how many." }),
    round_trip_ms: z.number().nullable().meta({ description: "What that was chosen by; null: not seen." }),
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
    step_ms: z
      .strictObject({ p50: z.number(), p95: z.number() })
      .meta({ description: "As the edge sees it: engine and wire." }),
    round_trip_ms: z.strictObject({ p50: z.number() }).meta({ description: "The wire's share of it." }),
  }),
});

export type Metrics = z.infer<typeof metrics>;

/** What of a draft is shown of each node. */
const draftedNode = z.strictObject({
  id: z.int(),
  text: z
    .string()
    .meta({ description: "The token by itself: incomplete bytes written \\xNN, control tokens by name." }),
  parent: z.int().meta({ description: "Index into this list; -1: the last committed token." }),
  accepted: z.boolean(),
});

/**
 * One step. In a stream each content chunk then carries exactly one, also where no text is shown yet. All `accepted` and
 * `bonus` texts joined are the completion, and what a stop string cuts off; a character spread over several tokens is in
 * the text of the token that completes it, so that a text may be "".
 */
const trace = z.strictObject({
  step: z.int().meta({ description: "0: the prefill, which commits one bonus token." }),
  accepted: z.array(z.string()).meta({ description: "Drafted tokens that were confirmed, in order." }),
  bonus: z
    .string()
    .nullable()
    .meta({ description: "The model's own token after them; null where the completion ended before it." }),
  drafted: z.array(draftedNode).meta({ description: "The whole draft." }),
  rejected: z.int().meta({ description: "Drafted tokens that were not accepted." }),
  place: place.meta({ description: "Who drafted." }),
  step_ms: z.number().meta({ description: "As the edge sees it." }),
  model_ms: z.number().meta({ description: "Of that, the model's." }),
});

export type StepTrace = z.infer<typeof trace>;

const tokenLogProb = { token: z.string(), logprob: z.number(), bytes: counts };
const entries = z.array(z.strictObject({ ...tokenLogProb, top_logprobs: z.array(z.strictObject(tokenLogProb)) }));
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

const status = z.enum(["in_progress", "completed", "incomplete"]);
const outputText = z.strictObject({
  type: z.literal("output_text"),
  text: z.string(),
  annotations: z.array(z.never()),
  logprobs: entries,
});
const outputItem = z.strictObject({
  type: z.literal("message"),
  id: z.string(),
  status,
  role: z.literal("assistant"),
  content: z.array(outputText),
});

export const responseObject = z.strictObject({
  id: z.string(),
  object: z.literal("response"),
  created_at: z.int(),
  status,
  error: z.null(),
  incomplete_details: z.strictObject({ reason: z.literal("max_output_tokens") }).nullable(),
  instructions: z.string().nullable(),
  max_output_tokens: z.int().nullable(),
  model: z.string(),
  output: z.array(outputItem),
  parallel_tool_calls: z.boolean(),
  previous_response_id: z.null(),
  reasoning: z.strictObject({ effort: z.null(), summary: z.null() }),
  store: z.literal(false),
  temperature: z.number(),
  text: z.strictObject({ format: z.strictObject({ type: z.literal("text") }) }),
  tool_choice: z.literal("auto"),
  tools: z.array(z.never()),
  top_p: z.number(),
  truncation: z.literal("disabled"),
  usage: z
    .strictObject({
      input_tokens: z.int(),
      input_tokens_details: z.strictObject({ cached_tokens: z.int() }),
      output_tokens: z.int(),
      output_tokens_details: z.strictObject({ reasoning_tokens: z.int() }),
      total_tokens: z.int(),
    })
    .nullable(),
  user: z.null(),
  metadata: z.record(z.string(), z.string()),
  metrics: metrics.optional(),
});

const inPart = { item_id: z.string(), output_index: z.int(), content_index: z.int() };
const event = <T extends z.ZodRawShape>(type: string, fields: T) =>
  z.strictObject({ type: z.literal(type), sequence_number: z.int(), ...fields });

export const responseEvent = z.union([
  ...["created", "in_progress", "completed", "incomplete"].map((type) =>
    event(`response.${type}`, { response: responseObject }),
  ),
  ...["added", "done"].map((type) =>
    event(`response.output_item.${type}`, { output_index: z.int(), item: outputItem }),
  ),
  ...["added", "done"].map((type) => event(`response.content_part.${type}`, { ...inPart, part: outputText })),
  event("response.output_text.delta", { ...inPart, delta: z.string(), logprobs: entries }),
  event("response.output_text.done", { ...inPart, text: z.string(), logprobs: entries }),
  event("error", { code: z.string(), message: z.string(), param: z.string().nullable() }),
]);

export const tokenized = z.strictObject({
  count: z.int(),
  max_model_len: z.int(),
  tokens: counts,
  token_strs: z.array(z.string()).nullable(),
});

export const detokenized = z.strictObject({ prompt: z.string() });
