import * as z from "zod";
import { LIMITS } from "../../shared/limits.ts";
import { asObject, check, invalid } from "./check.ts";
import type { CompletionParams } from "./params.ts";
import { speculationOf } from "./params.ts";
import { fieldsOf, IGNORED_FIELDS, plainTools, unsupported } from "./refuse.ts";
import { messagesOf, responseInput, supportedInput } from "./response-input.ts";
import { responseFormOf, responseToolFields, responseToolsOf } from "./response-tools.ts";
import { samplingFields, samplingOf, seedOf } from "./sampling.ts";
import { speculation } from "./schema.ts";
import { checkSizes } from "./sizes.ts";
import { grammarSource } from "./structured.ts";
import { withTools } from "./tools.ts";

/** Bodies of the Responses API: one turn of a conversation that the caller keeps. */

const LOGPROBS = "message.output_text.logprobs";

/** What else can be asked for to be included is about items that no answer here has. */
const INCLUDED = [
  LOGPROBS,
  "reasoning.encrypted_content",
  "code_interpreter_call.outputs",
  "computer_call_output.output.image_url",
  "file_search_call.results",
  "message.input_image.image_url",
  "web_search_call.action.sources",
  "web_search_call.results",
] as const;

export const responseBody = z.strictObject({
  model: z.string().nullish().meta({ description: "Default: the first model of /v1/models." }),
  input: responseInput,
  instructions: z.string().nullish(),
  max_output_tokens: z.int().min(1).nullish().meta({ description: "Cut to what the context leaves." }),
  ...samplingFields,
  ...responseToolFields,
  include: z.array(z.enum(INCLUDED)).max(LIMITS.included).nullish(),
  top_logprobs: z.int().min(0).max(LIMITS.topLogProbs).nullish(),
  metadata: z.record(z.string().max(64), z.string().max(512)).nullish().meta({ description: "Returned as it is." }),
  stream: z.boolean().nullish(),
  speculation: speculation.nullish(),
});

export type ResponseBody = z.infer<typeof responseBody>;

export interface ResponseParams extends CompletionParams {
  readonly api: "responses";
  /** The body as it was sent, most of which is returned with the answer. */
  readonly settings: ResponseBody;
}

const isEmpty = (value: unknown) => typeof value === "object" && value !== null && Object.keys(value).length === 0;

/** What keeps state or changes what the model reads; each passes with a value that asks for nothing. */
const REFUSED: Readonly<Record<string, (value: unknown) => boolean>> = {
  store: (value) => value === false,
  previous_response_id: () => false,
  conversation: () => false,
  background: (value) => value === false,
  moderation: () => false,
  prompt: () => false,
  context_management: isEmpty,
  truncation: (value) => value === "disabled",
};

export const RESPONSE_REFUSED: readonly string[] = Object.keys(REFUSED);
export const RESPONSE_IGNORED: readonly string[] = [
  ...IGNORED_FIELDS.filter((name) => name !== "store" && name !== "metadata"),
  "max_tool_calls",
  "stream_options",
  "image",
  "access_programs",
];

/** Checks a body of the Responses API. Throws StepError (400) naming the field at fault. */
export function parseResponse(body: unknown): ResponseParams {
  const fields = asObject(body);
  checkSizes(fields);
  const { kept, ignored } = supportedFields(fields);
  const wire = check(responseBody, kept);
  const wantsLogProbs = (wire.include ?? []).includes(LOGPROBS);
  if ((wire.top_logprobs ?? 0) > 0 && !wantsLogProbs)
    throw invalid("top_logprobs", `it needs include: ["${LOGPROBS}"]`);
  const tools = responseToolsOf(wire);
  const form = responseFormOf(wire);
  const structured = tools === null ? form : withTools(tools, form);
  const messages = messagesOf(wire.input, wire.instructions ?? null);
  return {
    api: "responses",
    model: wire.model ?? null,
    inputs: [{ kind: "messages", messages, tools: tools?.tools ?? [] }],
    inputParam: "input",
    n: 1,
    echo: false,
    maxTokens: wire.max_output_tokens ?? null,
    sampling: samplingOf(wire),
    seed: wire.seed == null ? null : seedOf(wire.seed),
    stop: [],
    stream: wire.stream ?? false,
    includeUsage: false,
    pad: false,
    logProbs: wantsLogProbs ? (wire.top_logprobs ?? 0) : null,
    prediction: null,
    grammar: structured === null ? null : { source: grammarSource(structured), param: structured.param },
    callsTools: tools !== null,
    speculation: speculationOf(wire.speculation ?? {}),
    ignored: [...ignored, ...ignoredWithin(wire)],
    settings: wire,
  };
}

/** Ignored parts of fields that are heeded otherwise. */
function ignoredWithin({ include, text }: ResponseBody): string[] {
  const others = include?.some((one) => one !== LOGPROBS) ?? false;
  return [...(others ? ["include"] : []), ...(text?.verbosity == null ? [] : ["text.verbosity"])];
}

function supportedFields(body: Readonly<Record<string, unknown>>) {
  const ignored = new Set<string>();
  const kept = fieldsOf(body, null, (name, value) => {
    if (RESPONSE_IGNORED.includes(name) || (name === "tools" && body.tool_choice === "none")) {
      if (value !== null) ignored.add(name);
      return false;
    }
    const harmless = Object.hasOwn(REFUSED, name) ? REFUSED[name] : undefined;
    if (harmless === undefined) return true;
    if (value !== null && !harmless(value)) throw unsupported(name);
    return false;
  });
  plainTools(kept, ignored);
  if (Object.hasOwn(kept, "input")) kept.input = supportedInput(kept.input, ignored);
  return { kept, ignored: [...ignored] };
}
