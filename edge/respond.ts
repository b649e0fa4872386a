import type { FinishReason } from "../shared/decode/advance.ts";
import { Decoding, type DecodingOptions } from "./decoding.ts";
import type { Metrics } from "./openai/answer-schemas.ts";
import { chatLogProbs } from "./openai/logprobs.ts";
import {
  type OutputLogProbs,
  type OutputText,
  outputMessage,
  outputText,
  type ResponseHead,
  responseObject,
} from "./openai/response-body.ts";
import type { ResponseParams } from "./openai/response-params.ts";
import type { TokenEntry } from "./text/transcript.ts";

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
  /** Number of the next event. */
  #sequence = 0;

  constructor(options: RespondingOptions) {
    this.#options = options;
    this.#decoding = new Decoding(options);
    const [id, messageId] = [crypto.randomUUID(), crypto.randomUUID()].map((uuid) => uuid.replaceAll("-", ""));
    const { name } = options.prepared.bundle.manifest;
    this.#head = { id: `resp_${id}`, messageId: `msg_${messageId}`, created: options.created, model: name };
  }

  async full(): Promise<{ body: object; metrics: Metrics }> {
    let text = "";
    let finish: FinishReason = "length";
    const entries: TokenEntry[] = [];
    for await (const { step } of this.#decoding.steps()) {
      text += step.text;
      finish = step.finish ?? finish;
      entries.push(...step.entries);
    }
    const metrics = this.#decoding.metrics(false);
    return { body: this.#object(finish, outputText(text, this.#logProbs(entries)), metrics), metrics };
  }

  /** The first event comes with the first token. */
  async *chunks(): AsyncGenerator<object, void> {
    const { params } = this.#options;
    const at = { item_id: this.#head.messageId, output_index: 0, content_index: 0 };
    let text = "";
    let finish: FinishReason = "length";
    const logprobs: OutputLogProbs[number][] = [];
    for await (const { event, step } of this.#decoding.steps()) {
      if (event.index === 0) yield* this.#opening();
      finish = step.finish ?? finish;
      text += step.text;
      const added = this.#logProbs(step.entries);
      logprobs.push(...added);
      if (step.text === "" && added.length === 0) continue;
      yield this.#event("response.output_text.delta", { ...at, delta: step.text, logprobs: added });
    }
    const part = outputText(text, logprobs);
    yield this.#event("response.output_text.done", { ...at, text, logprobs });
    yield this.#event("response.content_part.done", { ...at, part });
    const item = outputMessage(this.#head, finish, [part]);
    yield this.#event("response.output_item.done", { output_index: 0, item });
    const response = this.#object(finish, part, this.#decoding.metrics(params.speculation.trace));
    yield this.#event(finish === "length" ? "response.incomplete" : "response.completed", { response });
  }

  /** An error after the first event. */
  errorEvent({ code, message, param }: { code: string; message: string; param: string | null }): object {
    return this.#event("error", { code, message, param });
  }

  *#opening(): Generator<object, void> {
    const response = responseObject(this.#head, this.#options.params, null);
    yield this.#event("response.created", { response });
    yield this.#event("response.in_progress", { response });
    const item = outputMessage(this.#head, null, []);
    yield this.#event("response.output_item.added", { output_index: 0, item });
    const at = { item_id: this.#head.messageId, output_index: 0, content_index: 0 };
    yield this.#event("response.content_part.added", { ...at, part: outputText("", []) });
  }

  #event(type: string, fields: object): object {
    return { type, sequence_number: this.#sequence++, ...fields };
  }

  #object(finish: FinishReason, content: OutputText, metrics: Metrics) {
    return responseObject(this.#head, this.#options.params, {
      finish,
      content,
      usage: this.#decoding.usage(),
      metrics,
    });
  }

  #logProbs(entries: readonly TokenEntry[]): OutputLogProbs {
    const { params, prepared } = this.#options;
    return params.logProbs === null ? [] : chatLogProbs(prepared.bundle.tokenizer, entries).content;
  }
}
