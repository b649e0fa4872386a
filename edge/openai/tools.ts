import * as z from "zod";
import { complement } from "../../shared/grammar/expression.ts";
import { LIMITS } from "../../shared/limits.ts";
import { characterClass, choice, literal, type Rules, sequence } from "../grammar/rules.ts";
import { lenientSchemaBody, schemaBody } from "../grammar/schema-grammar.ts";
import { CALL_END, CALL_START, callHead } from "../text/tool-calls.ts";
import { invalid } from "./check.ts";
import { named, type Structured } from "./structured.ts";

export const toolName = z
  .string()
  .regex(/^[a-zA-Z0-9_-]{1,64}$/, "expected a name of 1 to 64 letters, digits, '_' and '-'");

const tool = z.strictObject({
  type: z.literal("function"),
  function: z.strictObject({
    name: toolName,
    description: z.string().nullish(),
    parameters: z.record(z.string(), z.unknown()).nullish(),
    strict: z
      .boolean()
      .nullish()
      .meta({ description: "true: keywords that are not supported are refused, not passed over." }),
  }),
});

const toolChoice = z.union(
  [
    z.enum(["none", "auto", "required"]),
    z.strictObject({ type: z.literal("function"), function: z.strictObject({ name: toolName }) }),
  ],
  { error: "expected 'none', 'auto', 'required' or {type: 'function', function: {name}}" },
);

/** Request fields of tools. */
export const toolFields = {
  tools: z.array(tool).max(LIMITS.tools).nullish(),
  tool_choice: toolChoice.nullish(),
  parallel_tool_calls: z.boolean().nullish().meta({ description: "false: at most one call. Default true." }),
};

/** Tool calls of an assistant's earlier message. */
export const toolCalls = z
  .array(
    z.strictObject({
      id: z.string().max(LIMITS.nameLength),
      type: z.literal("function").default("function"),
      function: z.strictObject({ name: toolName, arguments: z.string() }),
    }),
  )
  .max(LIMITS.tools);

export type ToolBody = z.infer<z.ZodObject<typeof toolFields>>;
export type Tool = z.infer<typeof tool>;

/** Tools that an answer may call. */
export interface Tools {
  readonly tools: readonly Tool[];
  /** Where a tool's function is described, within its entry of the request's list: ".function" or "". */
  readonly place: string;
  /** Whether it must; one by name, of `tools` that one alone may be called. */
  readonly required: boolean;
  readonly only: string | null;
  readonly parallel: boolean;
}

/** null: there are none, or none is to be called. Throws StepError naming the field at fault. */
export function toolsOf(
  { tools, tool_choice: wanted, parallel_tool_calls: parallel }: ToolBody,
  place = ".function",
): Tools | null {
  const known = tools ?? [];
  const names = known.map((one) => one.function.name);
  const twice = names.findIndex((name, i) => names.indexOf(name) < i);
  if (twice >= 0) throw invalid(`tools[${twice}]${place}.name`, "another tool has the same name");
  if (known.length === 0) {
    if (wanted != null && wanted !== "none" && wanted !== "auto") throw invalid("tool_choice", "it needs tools");
    return null;
  }
  if (wanted === "none") return null;
  const only = typeof wanted === "object" && wanted !== null ? wanted.function.name : null;
  if (only !== null && !names.includes(only)) throw invalid(`tool_choice${place}.name`, "no tool has this name");
  const required = only !== null || wanted === "required";
  return { tools: known, place, required, only, parallel: parallel ?? true };
}

/**
 * Answers that call tools: text (of `content`'s form, if it has one) in which no call begins, or calls, each as
 * text/tool-calls.ts reads it; where calls are not required, also text and then calls.
 */
export function withTools(tools: Tools, content: Structured | null): Structured {
  return {
    param: "tools",
    source: null,
    write(rules) {
      const calls = callsBody(tools, rules);
      const begun = `${literal(CALL_START)} ${calls}`;
      if (tools.required) return begun;
      if (content?.source != null) throw invalid("guided.grammar", "it goes without tools");
      return content === null ? freeText(calls, rules) : choice([content.write(rules), begun]);
    },
  };
}

/** What follows the mark that begins a call, up to the end of the answer. */
function callsBody({ tools, place, only, parallel }: Tools, rules: Rules): string {
  const options = tools.flatMap(({ function: { name, parameters, strict } }, i) => {
    if (only !== null && name !== only) return [];
    const write = strict === true ? schemaBody : lenientSchemaBody;
    const schema = { type: "object", ...parameters };
    const body = named(`tools[${i}]${place}.parameters`, () => write(schema, rules));
    return [sequence([literal(callHead(name)), body])];
  });
  const calls = rules.reserve();
  const more = parallel ? ` (${literal(`\n${CALL_START}`)} ${calls})?` : "";
  rules.define(calls, `${choice(options)} ${literal(CALL_END)}${more}`);
  return calls;
}

/** Any text, and calls from the first mark that begins one. */
function freeText(calls: string, rules: Rules): string {
  const mark = [...CALL_START];
  const names = mark.map(() => rules.reserve());
  const first = mark[0]!;
  for (const [i, next] of mark.entries()) {
    // As far as the text ends with the mark's first i characters; the first one occurs in it only once.
    const others = complement([first, next].map((c) => [c.codePointAt(0)!, c.codePointAt(0)!]));
    const options = [`${characterClass(others)} ${names[0]!}`, `${literal(next)} ${names[i + 1] ?? calls}`];
    if (i > 0) options.push(`${literal(first)} ${names[1]!}`);
    rules.define(names[i]!, `(${options.join(" | ")})?`);
  }
  return names[0]!;
}
