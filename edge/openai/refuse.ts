import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";

/**
 * Fields of OpenAI's API, and of servers like this one, that this server does not act on. A refused field passes only
 * with a value that asks for nothing, because clients send such defaults; an ignored field changes no output.
 */
type AsksForNothing = (value: unknown) => boolean;

const never: AsksForNothing = () => false;
const empty: AsksForNothing = (v) => typeof v === "object" && v !== null && Object.keys(v).length === 0;
const equals =
  (...values: readonly unknown[]): AsksForNothing =>
  (v) =>
    values.includes(v);

const REFUSED: Readonly<Record<string, AsksForNothing>> = {
  functions: empty,
  function_call: equals("none", "auto"),
  audio: never,
  modalities: (v) => Array.isArray(v) && v.length === 1 && v[0] === "text",
  best_of: equals(1),
  suffix: equals(""),
  web_search_options: never,
  moderation: never,
  // Of other servers; left out, each of them is as if it had this value.
  min_tokens: equals(0),
  ignore_eos: equals(false),
  use_beam_search: equals(false),
  length_penalty: equals(1),
  typical_p: equals(1),
  tfs_z: equals(1),
  mirostat: equals(0),
};

const IGNORED: ReadonlySet<string> = new Set([
  "user",
  "metadata",
  "store",
  "safety_identifier",
  "service_tier",
  "prompt_cache_key",
  "prompt_cache_options",
  "prompt_cache_retention",
  "reasoning_effort",
  "reasoning",
  "include_reasoning",
  "verbosity",
  "chat_template_kwargs",
  "enable_thinking",
  "thinking",
  "keep_alive",
  "cache_prompt",
  "request_id",
  "priority",
  "skip_special_tokens",
]);

export const REFUSED_FIELDS: readonly string[] = Object.keys(REFUSED);
export const IGNORED_FIELDS: readonly string[] = [...IGNORED];

const REFUSED_IN_MESSAGES: readonly string[] = ["function_call", "audio"];
const IGNORED_IN_MESSAGES: readonly string[] = ["id", "name", "annotations", "reasoning_content", "reasoning"];
/** What of a prompt is worth caching. */
const CACHE_HINTS: readonly string[] = ["prompt_cache_breakpoint", "cache_control"];
/** How else a tool may come to be called, or what it answers; the model sees none of it. */
const IGNORED_IN_TOOLS: readonly string[] = [
  ...CACHE_HINTS,
  "allowed_callers",
  "async",
  "defer_loading",
  "output_schema",
];

export function unsupported(param: string): StepError {
  return new StepError("unsupported", `'${param}' is not supported by this server, or not with this value.`, param);
}

/** A body's supported fields, and the names of those ignored, as a response header lists them. */
export interface Supported {
  readonly kept: Record<string, unknown>;
  readonly ignored: readonly string[];
}

/** Throws StepError "unsupported", naming the first field refused. */
export function supportedFields(body: Readonly<Record<string, unknown>>): Supported {
  const ignored = new Set<string>();
  const unused = body.tool_choice === "none" ? ["functions"] : [];
  const kept = fieldsOf(body, null, (name, value) => {
    if (IGNORED.has(name) || unused.includes(name)) {
      if (value !== null) ignored.add(name);
      return false;
    }
    const harmless = Object.hasOwn(REFUSED, name) ? REFUSED[name] : undefined;
    if (harmless === undefined) return true;
    if (value !== null && !harmless(value)) throw unsupported(name);
    return false;
  });
  plainTools(kept, ignored);
  if (Array.isArray(kept.messages)) {
    kept.messages = kept.messages.map((message, index) => plainMessage(message, `messages[${index}]`, ignored));
  }
  return { kept, ignored: [...ignored] };
}

/** A chat message without what is ignored of it; anything but text is refused. */
function plainMessage(message: unknown, at: string, ignored: Set<string>): unknown {
  if (typeof message !== "object" || message === null || Array.isArray(message)) return message;
  const kept = fieldsOf(message, at, (name, value) => {
    if (IGNORED_IN_MESSAGES.includes(name)) {
      if (value !== null && !empty(value)) ignored.add(`messages[].${name}`);
      return false;
    }
    if (!REFUSED_IN_MESSAGES.includes(name)) return true;
    if (value !== null && !empty(value)) throw unsupported(`${at}.${name}`);
    return false;
  });
  if (kept.role === "function") throw unsupported(`${at}.role`);
  // As an answer that was only a tool call comes back.
  if (kept.role === "assistant" && kept.content == null) kept.content = "";
  if (Array.isArray(kept.content)) {
    const types = kept.role === "assistant" ? ["text", "refusal"] : ["text"];
    kept.content = plainParts(kept.content, { at: `${at}.content`, list: "messages[].content[]", types }, ignored);
  }
  return kept;
}

interface PartsAt {
  /** Their place in the body, and that of all such parts. */
  readonly at: string;
  readonly list: string;
  readonly types: readonly string[];
}

/** Content parts without what is ignored of them. Throws StepError "unsupported" for parts of another type. */
export function plainParts(parts: readonly unknown[], { at, list, types }: PartsAt, ignored: Set<string>): unknown[] {
  return parts.map((part, index) => {
    const type: unknown = typeof part === "object" && part !== null && "type" in part ? part.type : null;
    if (typeof type === "string" && !types.includes(type)) {
      const param = `${at}[${index}].type`;
      throw new StepError("unsupported", `'${param}': the models here read text, no images, audio or files.`, param);
    }
    return without(CACHE_HINTS, part, list, ignored);
  });
}

/**
 * Takes what is ignored out of a body's tools. Throws StepError "unsupported" for tools that are no functions, and for a
 * choice among several.
 */
export function plainTools(kept: Record<string, unknown>, ignored: Set<string>): void {
  const { tools } = kept;
  if (Array.isArray(tools)) {
    for (const [i, one] of tools.entries()) refuseType(one, `tools[${i}].type`);
    kept.tools = tools.map((one: unknown) => without(IGNORED_IN_TOOLS, one, "tools[]", ignored));
  }
  refuseType(kept.tool_choice, "tool_choice.type");
}

function without(names: readonly string[], value: unknown, list: string, ignored: Set<string>): unknown {
  if (typeof value !== "object" || value === null || !names.some((name) => Object.hasOwn(value, name))) return value;
  return fieldsOf(value, list, (name, set) => {
    if (!names.includes(name)) return true;
    if (set !== null) ignored.add(`${list}.${name}`);
    return false;
  });
}

function refuseType(value: unknown, param: string): void {
  if (typeof value !== "object" || value === null || !("type" in value)) return;
  if (typeof value.type === "string" && value.type !== "function") throw unsupported(param);
}

/**
 * Fields by their own names, `__proto__` too: set by assignment, its value would lend its fields to the result. Throws
 * StepError where there are more than there are names for; `at` is where the object stands, null for the body.
 */
export function fieldsOf(
  object: object,
  at: string | null,
  keep: (name: string, value: unknown) => boolean,
): Record<string, unknown> {
  const fields = Object.entries(object);
  if (fields.length > LIMITS.objectFields) {
    const said = `${at === null ? "Invalid body" : `Invalid '${at}'`}: at most ${LIMITS.objectFields} fields.`;
    throw new StepError("invalid_request", said, at);
  }
  return Object.fromEntries(fields.filter(([name, value]) => keep(name, value)));
}
