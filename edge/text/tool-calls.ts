import type { TextStep } from "./transcript.ts";

/*
 * Calls of tools within an answer's text, as Hermes and Qwen write them, each on a line of its own between marks:
 * <tool_call>, {"name": NAME, "arguments": {...}}, </tool_call>. The grammar of an answer with tools allows no other form.
 */

export const CALL_START = "<tool_call>";
const HEAD = '\n{"name": "';
const BEFORE_ARGUMENTS = '", "arguments": ';
/** A line ends within no JSON of ours, so that this is never part of the arguments. */
export const CALL_END = "}\n</tool_call>";

/** From the mark that begins a call to its arguments. */
export function callHead(name: string): string {
  return `${HEAD}${name}${BEFORE_ARGUMENTS}`;
}

/** A call as part of a prompt. */
export function callText(name: string, args: string): string {
  return `${CALL_START}${callHead(name)}${args}${CALL_END}`;
}

/** A call that begins, or more of its arguments. */
export type CallPart =
  | { readonly index: number; readonly name: string }
  | { readonly index: number; readonly arguments: string };

export interface Parsed {
  readonly content: string;
  readonly calls: readonly CallPart[];
}

/** Takes calls out of text that arrives in pieces. Text that may be the beginning of a mark is held back. */
export class ToolCallParser {
  #held = "";
  /** Within what of the text it is. */
  #in: "content" | "head" | "arguments" | "between" = "content";
  #index = -1;
  /** Of the call that it is within, as far as told. */
  #arguments = "";

  /** Calls begun so far. */
  get calls(): number {
    return this.#index + 1;
  }

  push(text: string): Parsed {
    this.#held += text;
    let content = "";
    const calls: CallPart[] = [];
    for (;;) {
      const { before, found } = this.#upTo(MARKS[this.#in]);
      if (this.#in === "content") content += before;
      else if (this.#in === "arguments" && before !== "") {
        calls.push({ index: this.#index, arguments: before });
        this.#arguments += before;
      }
      if (!found) return { content, calls };
      if (this.#in === "head") {
        calls.push({ index: ++this.#index, name: before.slice(HEAD.length) });
        this.#arguments = "";
      }
      this.#in = NEXT[this.#in];
    }
  }

  /** What was held back, at the end of the text, which may have been cut off within a mark. */
  end(): Parsed {
    const held = this.#held;
    this.#held = "";
    if (this.#in === "content") return { content: held, calls: [] };
    const isArguments = this.#in === "arguments" && held !== "" && !held.includes("\n") && !isJson(this.#arguments);
    return { content: "", calls: isArguments ? [{ index: this.#index, arguments: held }] : [] };
  }

  /** Takes the text up to a mark, and the mark; where it is not there yet, what can be no part of one. */
  #upTo(mark: string): { readonly before: string; readonly found: boolean } {
    const at = this.#held.indexOf(mark);
    if (at >= 0) {
      const before = this.#held.slice(0, at);
      this.#held = this.#held.slice(at + mark.length);
      return { before, found: true };
    }
    // A name is told whole.
    if (this.#in === "head") return { before: "", found: false };
    let kept = Math.min(mark.length - 1, this.#held.length);
    while (!this.#held.endsWith(mark.slice(0, kept))) kept--;
    const before = this.#held.slice(0, this.#held.length - kept);
    this.#held = this.#held.slice(before.length);
    return { before, found: false };
  }
}

/** A brace after arguments that are whole is the mark's. */
function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const MARKS = { content: CALL_START, head: BEFORE_ARGUMENTS, arguments: CALL_END, between: CALL_START } as const;
const NEXT = { content: "head", head: "arguments", arguments: "between", between: "head" } as const;

/** What a step shows, with calls taken out where there may be some. */
export function contentOf(parser: ToolCallParser | null, { text, finish }: TextStep): Parsed {
  if (parser === null) return { content: text, calls: [] };
  const parsed = parser.push(text);
  if (finish === null) return parsed;
  const rest = parser.end();
  return { content: parsed.content + rest.content, calls: [...parsed.calls, ...rest.calls] };
}
