import type { PlacementMode } from "../../shared/decode/placement.ts";
import type { Sampling } from "../../shared/engine.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { RescorerType } from "../../shared/rescore/index.ts";
import { type Params, paramsFromWire } from "../../shared/rescore/params.ts";
import { asObject, check, invalid } from "./check.ts";
import { supportedFields, unsupported } from "./refuse.ts";
import { samplingOf, seedOf } from "./sampling.ts";
import { type ChatBody, type CompletionBody, chatBody, completionBody, type SpeculationBody } from "./schema.ts";
import { checkSizes } from "./sizes.ts";
import { grammarSource, structuredOf } from "./structured.ts";
import { type Tool, type Tools, toolsOf, withTools } from "./tools.ts";

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant" | "tool";
  readonly content: string;
  /** Of an assistant's message; left out: none. */
  readonly calls?: readonly { readonly id: string; readonly name: string; readonly arguments: string }[];
}

export type Input =
  | { readonly kind: "messages"; readonly messages: readonly ChatMessage[]; readonly tools: readonly Tool[] }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "tokens"; readonly tokens: readonly number[] };

/** `speculation` as sent; null where the bundle's default holds (completion/draft-plan.ts resolves it). */
export interface SpeculationParams {
  readonly enabled: boolean;
  readonly heads: number | null;
  readonly topK: number | null;
  readonly maxNodes: number | null;
  readonly rescorer: {
    readonly type: RescorerType | null;
    readonly model: string | null;
    /** Those given. */
    readonly params: Params;
    readonly memory: boolean;
  };
  readonly placement: PlacementMode;
  /** Whether drafts heed the answer's grammar. */
  readonly forced: boolean;
  readonly receipt: boolean;
  readonly trace: boolean;
}

/** One completion request, checked as far as it can be without knowing the bundle. */
export interface CompletionParams {
  readonly api: "chat" | "completions" | "responses";
  /** null: the default model. */
  readonly model: string | null;
  /** At least one. */
  readonly inputs: readonly Input[];
  /** Request field that holds them. */
  readonly inputParam: "messages" | "prompt" | "input";
  /** Completions of each input, at least 1. */
  readonly n: number;
  /** Whether a completion begins with its prompt. */
  readonly echo: boolean;
  /** null: the default. Cut to the room left in the context. */
  readonly maxTokens: number | null;
  readonly sampling: Omit<Sampling, "seed">;
  /** uint32, or null for a random one. */
  readonly seed: number | null;
  readonly stop: readonly string[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Whether the sizes of stream chunks tell nothing of what they hold. */
  readonly pad: boolean;
  /** Alternatives per token; null without log-probabilities. */
  readonly logProbs: number | null;
  /** Text that drafts are copied from; null: none but what the prompt has. */
  readonly prediction: string | null;
  readonly speculation: SpeculationParams;
  /** The grammar that the answer is held to, and the request field that asks for it; null: there is none. */
  readonly grammar: { readonly source: string; readonly param: string } | null;
  /** Whether calls of tools are to be taken out of the answer's text. */
  readonly callsTools: boolean;
  /** Fields that were sent and change nothing. */
  readonly ignored: readonly string[];
}

/** Checks a chat body. Throws StepError (400) naming the field at fault. */
export function parseChat(body: unknown): CompletionParams {
  const { kept, ignored } = supported(body);
  const wire: ChatBody = check(chatBody, kept);
  const logprobs = wire.logprobs ?? false;
  if ((wire.top_logprobs ?? 0) > 0 && !logprobs) throw invalid("top_logprobs", "it needs logprobs: true");
  if (wire.max_tokens != null && wire.max_completion_tokens != null && wire.max_tokens !== wire.max_completion_tokens) {
    throw invalid("max_tokens", "it differs from max_completion_tokens; send one of them");
  }
  const tools = toolsOf(wire);
  return bounded({
    ...commonParams(wire, tools),
    api: "chat",
    inputs: [{ kind: "messages", messages: wire.messages.map(chatMessage), tools: tools?.tools ?? [] }],
    inputParam: "messages",
    echo: false,
    maxTokens: wire.max_completion_tokens ?? wire.max_tokens ?? null,
    logProbs: logprobs ? (wire.top_logprobs ?? 0) : null,
    ignored,
  });
}

/** Checks a completions body. Throws StepError (400) naming the field at fault. */
export function parseCompletion(body: unknown): CompletionParams {
  const { kept, ignored } = supported(body);
  const wire: CompletionBody = check(completionBody, kept);
  const echo = wire.echo ?? false;
  // It would take the log-probabilities of the prompt, which is never run row by row.
  if (echo && wire.logprobs != null) throw unsupported("echo");
  return bounded({
    ...commonParams(wire, null),
    api: "completions",
    inputs: promptInputs(wire.prompt),
    inputParam: "prompt",
    echo,
    maxTokens: wire.max_tokens ?? null,
    logProbs: wire.logprobs ?? null,
    ignored,
  });
}

function supported(body: unknown) {
  const fields = asObject(body);
  checkSizes(fields);
  return supportedFields(fields);
}

function bounded(params: CompletionParams): CompletionParams {
  const choices = params.inputs.length * params.n;
  if (choices > LIMITS.choices) throw invalid("n", `at most ${LIMITS.choices} completions, of all prompts together`);
  if (choices > 1 && params.speculation.trace) {
    throw invalid("speculation.trace", "it needs a request for one completion");
  }
  return params;
}

function commonParams(wire: ChatBody | CompletionBody, tools: Tools | null) {
  const stream = wire.stream ?? false;
  const includeUsage = wire.stream_options?.include_usage ?? false;
  const pad = (wire.stream_options?.pad || wire.stream_options?.include_obfuscation) ?? false;
  if ((includeUsage || pad) && !stream) throw invalid("stream_options", "it needs stream: true");
  if (wire.stream_options?.pad) checkPad(wire, tools);
  const content = structuredOf(wire);
  const stop = typeof wire.stop === "string" ? [wire.stop] : (wire.stop ?? []);
  if (content !== null && stop.length > 0) throw invalid("stop", `where an answer ends is for ${content.param} to say`);
  const structured = tools === null ? content : withTools(tools, content);
  return {
    model: wire.model ?? null,
    n: wire.n ?? 1,
    sampling: samplingOf(wire),
    seed: wire.seed == null ? null : seedOf(wire.seed),
    stop,
    stream,
    includeUsage,
    pad,
    prediction: wire.prediction == null ? null : textOf(wire.prediction.content),
    speculation: speculationOf(wire.speculation ?? {}),
    grammar: structured === null ? null : { source: grammarSource(structured), param: structured.param },
    callsTools: tools !== null,
  };
}

/** All of these grow by what was accepted, and there is no bound worth filling up to. */
function checkPad({ speculation, logprobs }: ChatBody | CompletionBody, tools: Tools | null): void {
  const shown = [
    speculation?.trace ? "speculation.trace" : null,
    speculation?.receipt ? "speculation.receipt" : null,
    logprobs != null && logprobs !== false ? "logprobs" : null,
    tools === null ? null : "tools",
  ].find((field) => field !== null);
  if (shown !== undefined)
    throw invalid("stream_options.pad", `it cannot hide the size of ${shown}; leave one of them out`);
}

/** Null where nothing was said. */
export function speculationOf(speculation: SpeculationBody): SpeculationParams {
  const rescorer = speculation.rescorer ?? {};
  return {
    enabled: speculation.enabled ?? true,
    heads: speculation.heads ?? null,
    topK: speculation.top_k ?? null,
    maxNodes: speculation.max_nodes ?? null,
    rescorer: {
      type: rescorer.type ?? null,
      model: rescorer.model ?? null,
      params: paramsFromWire(rescorer),
      memory: rescorer.memory ?? false,
    },
    placement: speculation.placement ?? "auto",
    forced: speculation.forced ?? true,
    receipt: speculation.receipt ?? false,
    trace: speculation.trace ?? false,
  };
}

function chatMessage(message: ChatBody["messages"][number], index: number): ChatMessage {
  const { role, content, tool_calls: made, refusal } = message;
  const calls = (made ?? []).map(({ id, function: { name, arguments: args } }) => ({ id, name, arguments: args }));
  if (calls.length > 0 && role !== "assistant")
    throw invalid(`messages[${index}].tool_calls`, "only an assistant calls");
  if (message.tool_call_id != null && role !== "tool") {
    throw invalid(`messages[${index}].tool_call_id`, "only a tool's message answers a call");
  }
  if (refusal != null && role !== "assistant")
    throw invalid(`messages[${index}].refusal`, "only an assistant declines");
  return {
    ...(calls.length > 0 ? { calls } : {}),
    // OpenAI renamed the system role for newer models; chat templates know only the old name.
    role: role === "developer" ? "system" : role,
    content: textOf(content) + (refusal ?? ""),
  };
}

function textOf(content: ChatBody["messages"][number]["content"]): string {
  return typeof content === "string"
    ? content
    : content.map((part) => (part.type === "text" ? part.text : part.refusal)).join("");
}

function promptInputs(prompt: CompletionBody["prompt"]): Input[] {
  if (typeof prompt === "string") return [textInput(prompt, "prompt")];
  if (prompt.length === 0) throw invalid("prompt", "it is empty");
  const numbers = prompt.filter((one) => typeof one === "number");
  if (numbers.length > 0) return [{ kind: "tokens", tokens: numbers }];
  return prompt.map((one, index) => {
    if (typeof one === "string") return textInput(one, prompt.length > 1 ? `prompt[${index}]` : "prompt");
    return { kind: "tokens", tokens: typeof one === "number" ? [one] : one };
  });
}

function textInput(text: string, param: string): Input {
  if (text === "") throw invalid(param, "it is empty");
  return { kind: "text", text };
}
