import type { FinishReason } from "../../shared/decode/advance.ts";
import { callId } from "../openai/call-bodies.ts";
import {
  type FunctionCall,
  functionCall,
  type OutputItem,
  type OutputLogProbs,
  outputMessage,
  outputText,
  type Status,
  statusOf,
} from "../openai/response-body.ts";
import type { CallPart } from "../text/tool-calls.ts";

/** An event but for its number in the stream. */
export type Told = { readonly type: string } & Readonly<Record<string, unknown>>;

type Open = ({ readonly type: "call" } & FunctionCall) | OpenMessage;

interface OpenMessage {
  readonly type: "message";
  readonly id: string;
  readonly text: string;
  readonly logprobs: OutputLogProbs;
}

/** What a response puts out, item by item: text as a message, then calls of tools. Every change is told as events. */
export class OutputItems {
  /** Ends the ids of its items. */
  readonly #unique: string;
  readonly #done: OutputItem[] = [];
  #open: Open | null = null;

  constructor(unique: string) {
    this.#unique = unique;
  }

  /** Those that are complete; all of them after `end`. */
  get items(): readonly OutputItem[] {
    return this.#done;
  }

  /** The message begins, before there is text. */
  *message(): Generator<Told, OpenMessage> {
    if (this.#open?.type === "message") return this.#open;
    const message = { type: "message", id: `msg_${this.#unique}`, text: "", logprobs: [] } as const;
    this.#open = message;
    yield { type: "response.output_item.added", ...this.#at, item: outputMessage(message.id, "in_progress", []) };
    yield { type: "response.content_part.added", ...this.#inPart(message), part: outputText("", []) };
    return message;
  }

  *text(delta: string, logprobs: OutputLogProbs): Generator<Told, void> {
    const message = yield* this.message();
    this.#open = { ...message, text: message.text + delta, logprobs: [...message.logprobs, ...logprobs] };
    yield { type: "response.output_text.delta", ...this.#inPart(message), delta, logprobs };
  }

  /** A call that begins, or more of its arguments. */
  *call(part: CallPart): Generator<Told, void> {
    if ("name" in part) yield* this.#begin(part.index, part.name);
    else if (this.#open?.type === "call") {
      const call = this.#open;
      this.#open = { ...call, arguments: call.arguments + part.arguments };
      const at = { item_id: call.item, ...this.#at };
      yield { type: "response.function_call_arguments.delta", ...at, delta: part.arguments };
    }
  }

  /** The last item ends; an answer of nothing is an empty message. */
  *end(finish: FinishReason): Generator<Told, void> {
    if (this.#open === null) yield* this.message();
    yield* this.#close(statusOf(finish));
  }

  *#begin(index: number, name: string): Generator<Told, void> {
    if (this.#open !== null) yield* this.#close("completed");
    const item = `fc_${this.#unique}_${index}`;
    const call = { type: "call", item, id: callId(this.#unique, 0, index), name, arguments: "" } as const;
    this.#open = call;
    yield { type: "response.output_item.added", ...this.#at, item: functionCall(call, "in_progress") };
  }

  *#close(status: Status): Generator<Told, void> {
    const open = this.#open!;
    if (open.type === "call") {
      const { item: item_id, name, arguments: args } = open;
      yield { type: "response.function_call_arguments.done", item_id, ...this.#at, name, arguments: args };
    } else {
      const { text, logprobs } = open;
      const at = this.#inPart(open);
      yield { type: "response.output_text.done", ...at, text, logprobs };
      yield { type: "response.content_part.done", ...at, part: outputText(text, logprobs) };
    }
    const item =
      open.type === "call"
        ? functionCall(open, status)
        : outputMessage(open.id, status, [outputText(open.text, open.logprobs)]);
    yield { type: "response.output_item.done", ...this.#at, item };
    this.#done.push(item);
    this.#open = null;
  }

  get #at() {
    return { output_index: this.#done.length };
  }

  #inPart({ id }: { readonly id: string }) {
    return { item_id: id, ...this.#at, content_index: 0 };
  }
}
