import type { FinishReason } from "../../shared/decode/advance.ts";
import type { Metrics, Usage } from "../openai/answer-schemas.ts";
import { chatLogProbs } from "../openai/logprobs.ts";
import { type OutputLogProbs, type ResponseHead, responseObject } from "../openai/response-body.ts";
import type { ResponseParams } from "../openai/response-params.ts";
import { contentOf, ToolCallParser } from "../text/tool-calls.ts";
import type { TextStep, TokenEntry } from "../text/transcript.ts";
import { Decoding, type DecodingOptions } from "./decoding.ts";
import { OutputItems, type Told } from "./output-items.ts";

export interface RespondingOptions extends DecodingOptions {
  readonly params: ResponseParams;
  /** Unix time, seconds. */
  readonly created: number;
}

/** The answer of the Responses API, whole or as events. */
export class Responding {
  readonly #options: RespondingOptions;
  readonly #decoding: Decoding;
  readonly #head: ResponseHead;
  readonly #output: OutputItems;
  /** null: no tool may be called. */
  readonly #parser: ToolCallParser | null;
  /** Tokens whose text is not put out yet, as it may turn out to be that of a call. */
  #waiting: readonly TokenEntry[] = [];
  /** Length of the text put out, UTF-16 units. */
  #shown = 0;
  /** Number of the next event. */
  #sequence = 0;

  constructor(options: RespondingOptions) {
    this.#options = options;
    this.#decoding = new Decoding(options);
    const unique = crypto.randomUUID().replaceAll("-", "");
    const { name } = options.prepared.bundle.manifest;
    this.#head = { id: `resp_${unique}`, created: options.created, model: name };
    this.#output = new OutputItems(unique);
    this.#parser = options.params.callsTools ? new ToolCallParser() : null;
  }

  async full(): Promise<{ body: object; metrics: Metrics }> {
    let finish: FinishReason = "length";
    for await (const { step } of this.#decoding.steps()) {
      finish = step.finish ?? finish;
      // The events are for readers of a stream; what they tell of is kept.
      for (const _told of this.#told(step));
    }
    for (const _told of this.#output.end(finish));
    const metrics = this.#decoding.metrics(false);
    return { body: this.#object(finish, metrics), metrics };
  }

  /** So far. */
  usage(): Usage {
    return this.#decoding.usage();
  }

  /** The first event comes with the first token. */
  async *chunks(): AsyncGenerator<object, void> {
    let finish: FinishReason = "length";
    for await (const { event, step } of this.#decoding.steps()) {
      if (event.call === 0) yield* this.#opening();
      finish = step.finish ?? finish;
      for (const told of this.#told(step)) yield this.#event(told);
    }
    for (const told of this.#output.end(finish)) yield this.#event(told);
    const response = this.#object(finish, this.#decoding.metrics(this.#options.params.speculation.trace));
    yield this.#event({ type: finish === "length" ? "response.incomplete" : "response.completed", response });
  }

  /** An error after the first event. */
  errorEvent({ code, message, param }: { code: string; message: string; param: string | null }): object {
    return this.#event({ type: "error", code, message, param });
  }

  *#opening(): Generator<object, void> {
    const response = responseObject(this.#head, this.#options.params, null);
    yield this.#event({ type: "response.created", response });
    yield this.#event({ type: "response.in_progress", response });
    // Where tools may be called, it shows only later whether there is a message.
    if (this.#parser === null) for (const told of this.#output.message()) yield this.#event(told);
  }

  /** What a step adds to the output. */
  *#told(step: TextStep): Generator<Told, void> {
    const { content, calls } = contentOf(this.#parser, step);
    const logprobs = this.#logProbs(step, content);
    if (content !== "" || logprobs.length > 0) yield* this.#output.text(content, logprobs);
    for (const part of calls) yield* this.#output.call(part);
  }

  /** Of the tokens that are part of the message's text, as far as it is put out. */
  #logProbs({ entries }: TextStep, content: string): OutputLogProbs {
    const { params, prepared } = this.#options;
    if (params.logProbs === null) return [];
    this.#shown += content.length;
    const all = [...this.#waiting, ...entries];
    const hidden = this.#parser === null ? -1 : all.findIndex(({ offset }) => offset >= this.#shown);
    const told = hidden < 0 ? all : all.slice(0, hidden);
    this.#waiting = all.slice(told.length);
    return chatLogProbs(prepared.bundle.tokenizer, told).content;
  }

  #event({ type, ...fields }: Told): object {
    return { type, sequence_number: this.#sequence++, ...fields };
  }

  #object(finish: FinishReason, metrics: Metrics) {
    const { items: output } = this.#output;
    return responseObject(this.#head, this.#options.params, { finish, output, usage: this.#decoding.usage(), metrics });
  }
}
