import type { FinishReason } from "../../shared/decode/advance.ts";
import type { CallPart } from "../text/tool-calls.ts";

/** A call of a tool. */
export interface ToolCall {
  readonly name: string;
  readonly arguments: string;
}

/** Calls of the answer `id`, in its choice of number `choice`. */
export function callBodies(id: string, choice: number, calls: readonly ToolCall[]) {
  return calls.map(({ name, arguments: args }, call) => {
    return { id: callId(id, choice, call), type: "function", function: { name, arguments: args } };
  });
}

/** As chunks have them: a call's id and name once, then pieces of its arguments. */
export function callDelta(id: string, choice: number, part: CallPart) {
  const { index } = part;
  if ("arguments" in part) return { index, function: { arguments: part.arguments } };
  return { index, id: callId(id, choice, index), type: "function", function: { name: part.name, arguments: "" } };
}

/** Ids differ between calls, choices and answers. */
export function callId(id: string, choice: number, call: number): string {
  return `call_${id.slice(-24)}${choice.toString(36)}_${call}`;
}

/** As in OpenAI's API: "tool_calls" where an answer ends after calls. */
export type WireFinish = FinishReason | "tool_calls";

export function finishOf(finish: FinishReason, calls: number): WireFinish {
  return finish === "stop" && calls > 0 ? "tool_calls" : finish;
}
