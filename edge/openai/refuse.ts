import { StepError } from "../../shared/errors.ts";

/**
 * Fields of OpenAI's API that this server does not act on. A refused field passes only with a value
 * that asks for nothing, because clients send such defaults; an ignored field changes no output.
 */
type AsksForNothing = (value: unknown) => boolean;

const never: AsksForNothing = () => false;
const empty: AsksForNothing = (v) => typeof v === "object" && v !== null && Object.keys(v).length === 0;
const equals =
  (...values: readonly unknown[]): AsksForNothing =>
  (v) =>
    values.includes(v);

const REFUSED: Readonly<Record<string, AsksForNothing>> = {
  tools: empty,
  tool_choice: equals("none", "auto"),
  functions: empty,
  function_call: equals("none", "auto"),
  audio: never,
  modalities: (v) => Array.isArray(v) && v.length === 1 && v[0] === "text",
  response_format: (v) => typeof v === "object" && v !== null && "type" in v && v.type === "text",
  prediction: never,
  n: equals(1),
  best_of: equals(1),
  echo: equals(false),
  suffix: equals(""),
  logit_bias: empty,
  presence_penalty: equals(0),
  frequency_penalty: equals(0),
  reasoning_effort: equals("none"),
  verbosity: equals("medium"),
  web_search_options: never,
  moderation: never,
};

const IGNORED: ReadonlySet<string> = new Set([
  "user",
  "metadata",
  "store",
  "safety_identifier",
  "service_tier",
  "parallel_tool_calls",
  "prompt_cache_key",
  "prompt_cache_options",
  "prompt_cache_retention",
]);

export const REFUSED_FIELDS: readonly string[] = Object.keys(REFUSED);
export const IGNORED_FIELDS: readonly string[] = [...IGNORED];

const MESSAGE_FIELDS: readonly string[] = ["tool_calls", "tool_call_id", "function_call", "audio", "annotations"];

function unsupported(param: string): StepError {
  return new StepError("unsupported", `'${param}' is not supported by this server, or not with this value.`, param);
}

/** The body's supported fields. Throws StepError "unsupported", naming the first field refused. */
export function withoutRefused(body: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const kept = fieldsOf(body, (name, value) => {
    if (IGNORED.has(name)) return false;
    const harmless = Object.hasOwn(REFUSED, name) ? REFUSED[name] : undefined;
    if (harmless === undefined) return true;
    if (value !== null && !harmless(value)) throw unsupported(name);
    return false;
  });
  if (Array.isArray(kept.messages)) kept.messages = kept.messages.map(plainMessage);
  return kept;
}

/** A chat message without its empty tool and audio fields; anything but text is refused. */
function plainMessage(message: unknown, index: number): unknown {
  if (typeof message !== "object" || message === null || Array.isArray(message)) return message;
  const at = `messages[${index}]`;
  const kept = fieldsOf(message, (name, value) => {
    if (!MESSAGE_FIELDS.includes(name)) return true;
    if (value !== null && !empty(value)) throw unsupported(`${at}.${name}`);
    return false;
  });
  if (kept.role === "tool" || kept.role === "function") throw unsupported(`${at}.role`);
  if (Array.isArray(kept.content)) {
    for (const [part, value] of kept.content.entries()) {
      const type: unknown = typeof value === "object" && value !== null && "type" in value ? value.type : null;
      if (typeof type === "string" && type !== "text") throw unsupported(`${at}.content[${part}].type`);
    }
  }
  return kept;
}

/** Fields by their own names, `__proto__` too: set by assignment, its value would lend its fields to the result. */
function fieldsOf(object: object, keep: (name: string, value: unknown) => boolean): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([name, value]) => keep(name, value)));
}
