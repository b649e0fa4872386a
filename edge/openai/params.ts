import type * as z from "zod";
import type { PlacementMode } from "../../shared/decode/placement.ts";
import { StepError } from "../../shared/errors.ts";
import type { RescorerType } from "../../shared/rescore/index.ts";
import { type Params, paramsFromWire } from "../../shared/rescore/params.ts";
import { withoutRefused } from "./refuse.ts";
import { type ChatBody, type CompletionBody, chatBody, completionBody } from "./schema.ts";
import { checkSizes } from "./sizes.ts";

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

export type Input =
  | { readonly kind: "messages"; readonly messages: readonly ChatMessage[] }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "tokens"; readonly tokens: readonly number[] };

/** `speculation` as sent; null where the bundle's default holds (speculation.ts resolves it). */
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
  };
  readonly placement: PlacementMode;
  readonly receipt: boolean;
  readonly trace: boolean;
}

/** One completion request, checked as far as it can be without knowing the bundle. */
export interface CompletionParams {
  readonly api: "chat" | "completions";
  /** null: the default model. */
  readonly model: string | null;
  readonly input: Input;
  /** null: the default, which depends on the room left in the context. */
  readonly maxTokens: number | null;
  readonly maxTokensParam: "max_tokens" | "max_completion_tokens";
  readonly temperature: number;
  readonly topP: number;
  /** uint32, or null for a random one. */
  readonly seed: number | null;
  readonly stop: readonly string[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Alternatives per token; null without log-probabilities. */
  readonly logProbs: number | null;
  readonly speculation: SpeculationParams;
}

/** Checks a chat body. Throws StepError (400) naming the field at fault. */
export function parseChat(body: unknown): CompletionParams {
  const wire: ChatBody = check(chatBody, body);
  const logprobs = wire.logprobs ?? false;
  if (wire.top_logprobs != null && !logprobs) throw invalid("top_logprobs", "it needs logprobs: true");
  if (wire.max_tokens != null && wire.max_completion_tokens != null && wire.max_tokens !== wire.max_completion_tokens) {
    throw invalid("max_tokens", "it differs from max_completion_tokens; send one of them");
  }
  return {
    ...commonParams(wire),
    api: "chat",
    input: { kind: "messages", messages: wire.messages.map(chatMessage) },
    maxTokens: wire.max_completion_tokens ?? wire.max_tokens ?? null,
    maxTokensParam: wire.max_completion_tokens == null ? "max_tokens" : "max_completion_tokens",
    logProbs: logprobs ? (wire.top_logprobs ?? 0) : null,
  };
}

/** Checks a completions body. Throws StepError (400) naming the field at fault. */
export function parseCompletion(body: unknown): CompletionParams {
  const wire: CompletionBody = check(completionBody, body);
  return {
    ...commonParams(wire),
    api: "completions",
    input: promptInput(wire.prompt),
    maxTokens: wire.max_tokens ?? null,
    maxTokensParam: "max_tokens",
    logProbs: wire.logprobs ?? null,
  };
}

function commonParams(wire: ChatBody | CompletionBody) {
  const stream = wire.stream ?? false;
  if (wire.stream_options != null && !stream) throw invalid("stream_options", "it needs stream: true");
  const speculation = wire.speculation ?? {};
  const rescorer = speculation.rescorer ?? {};
  return {
    model: wire.model ?? null,
    temperature: wire.temperature ?? 1,
    topP: wire.top_p ?? 1,
    seed: wire.seed == null ? null : Number(BigInt.asUintN(32, BigInt(wire.seed))),
    stop: typeof wire.stop === "string" ? [wire.stop] : (wire.stop ?? []),
    stream,
    includeUsage: wire.stream_options?.include_usage ?? false,
    speculation: {
      enabled: speculation.enabled ?? true,
      heads: speculation.heads ?? null,
      topK: speculation.top_k ?? null,
      maxNodes: speculation.max_nodes ?? null,
      rescorer: {
        type: rescorer.type ?? null,
        model: rescorer.model ?? null,
        params: paramsFromWire(rescorer),
      },
      placement: speculation.placement ?? "auto",
      receipt: speculation.receipt ?? false,
      trace: speculation.trace ?? false,
    },
  };
}

function chatMessage(message: ChatBody["messages"][number]): ChatMessage {
  const { role, content } = message;
  return {
    // OpenAI renamed the system role for newer models; chat templates know only the old name.
    role: role === "developer" ? "system" : role,
    content: typeof content === "string" ? content : content.map((part) => part.text).join(""),
  };
}

function promptInput(prompt: CompletionBody["prompt"]): Input {
  if (typeof prompt === "string") return textInput(prompt);
  const [first] = prompt;
  if (first === undefined) throw invalid("prompt", "it is empty");
  if (typeof first === "number") return { kind: "tokens", tokens: prompt.map(Number) };
  return textInput(first);
}

function textInput(text: string): Input {
  if (text === "") throw invalid("prompt", "it is empty");
  return { kind: "text", text };
}

function check<T>(schema: z.ZodType<T>, body: unknown): T {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new StepError("invalid_request", "The body must be a JSON object.");
  }
  checkSizes({ ...body });
  const parsed = schema.safeParse(withoutRefused({ ...body }));
  if (parsed.success) return parsed.data;
  throw zodFault(parsed.error.issues);
}

export function invalid(param: string, reason: string): StepError {
  return new StepError("invalid_request", `Invalid '${param}': ${reason}.`, param);
}

/** The fault reported is the first one; a union's is that of the alternative
 * with the fewest, the later one on a tie. */
function zodFault(issues: readonly z.core.$ZodIssue[], prefix: readonly PropertyKey[] = []): StepError {
  const issue = issues[0];
  if (issue === undefined) return new StepError("invalid_request", "The body is invalid.");
  const path = [...prefix, ...issue.path];
  if (issue.code === "unrecognized_keys") {
    const name = pathName([...path, issue.keys[0] ?? ""]);
    return new StepError("invalid_request", `Unknown field '${name}'.`, name);
  }
  if (issue.code === "invalid_union") {
    const branches = issue.errors.filter((branch) => (branch[0]?.path.length ?? 0) > 0);
    const closest = branches.toSorted((a, b) => a.length - b.length || branches.indexOf(b) - branches.indexOf(a))[0];
    if (closest !== undefined) return zodFault(closest, path);
  }
  return invalid(pathName(path), issue.message.replace(/^Invalid input: /, "").replace(/\.$/, ""));
}

function pathName(path: readonly PropertyKey[]): string {
  return path.reduce<string>((name, key) => {
    if (typeof key === "number") return `${name}[${key}]`;
    return name === "" ? String(key) : `${name}.${String(key)}`;
  }, "");
}
