import type { FinishReason } from "../../shared/decode/advance.ts";
import type { Metrics, StepTrace, Usage } from "../openai/answer-schemas.ts";
import { finishOf, type ToolCall } from "../openai/call-bodies.ts";
import { chatLogProbs, completionLogProbs } from "../openai/logprobs.ts";
import { padded, TextGate } from "../openai/padding.ts";
import type { CompletionParams } from "../openai/params.ts";
import {
  type ChunkParts,
  chunkOf,
  fullBody,
  type LogProbsBody,
  type ResponseContext,
  usageChunk,
} from "../openai/responses.ts";
import { type CallPart, contentOf, type Parsed, ToolCallParser } from "../text/tool-calls.ts";
import type { TokenEntry } from "../text/transcript.ts";
import { type ChoiceStep, Decoding, type DecodingOptions } from "./decoding.ts";

export interface CompletionOptions extends DecodingOptions {
  readonly params: CompletionParams;
  /** Unix time, seconds. */
  readonly created: number;
}

/** The answer of the chat and completions APIs, whole or in chunks. */
export class Completion {
  readonly #params: CompletionParams;
  readonly #decoding: Decoding;
  readonly #options: CompletionOptions;
  readonly #context: ResponseContext;

  constructor(options: CompletionOptions) {
    const { params, prepared, created } = options;
    this.#params = params;
    this.#options = options;
    this.#decoding = new Decoding(options);
    const { manifest } = prepared.bundle;
    this.#context = {
      api: params.api === "chat" ? "chat" : "completions",
      id: `${params.api === "chat" ? "chatcmpl" : "cmpl"}-${crypto.randomUUID().replaceAll("-", "")}`,
      created,
      model: manifest.name,
      fingerprint: `fp_${(manifest.graphs.base.data ?? manifest.graphs.base).sha256.slice(0, 10)}`,
      includeUsage: params.includeUsage,
    };
  }

  /** The whole completion as one object, and its metrics. */
  async full(): Promise<{ body: ReturnType<typeof fullBody>; metrics: Metrics }> {
    const { trace } = this.#params.speculation;
    const choices = this.#options.prepared.choices.map(({ echo }) => ({
      text: echo,
      parser: this.#params.callsTools ? new ToolCallParser() : null,
      calls: [] as ToolCall[],
      // decode() ends only by finishing or by an error.
      finish: "length" as FinishReason,
      entries: [] as TokenEntry[],
    }));
    const traces: StepTrace[] = [];
    for await (const one of this.#decoding.steps()) {
      const choice = choices[one.index]!;
      const { content, calls } = contentOf(choice.parser, one.step);
      choice.text += content;
      gather(choice.calls, calls);
      choice.finish = one.step.finish ?? choice.finish;
      choice.entries.push(...one.step.entries);
      if (trace) traces.push(this.#decoding.trace(one));
    }
    const metrics = this.#decoding.metrics(trace);
    const body = fullBody(this.#context, {
      choices: choices.map(({ text, calls, finish, entries }) => {
        return { text, calls, finish: finishOf(finish, calls.length), logProbs: this.#logProbs(entries) };
      }),
      usage: this.#decoding.usage(),
      metrics,
      steps: trace ? traces : null,
    });
    return { body, metrics };
  }

  /** So far. */
  usage(): Usage {
    return this.#decoding.usage();
  }

  /** The completion as stream chunks. The first one comes with the first token. */
  async *chunks(): AsyncGenerator<object, void> {
    if (!this.#params.pad) return yield* this.#plainChunks();
    for await (const chunk of this.#plainChunks()) yield padded(chunk);
  }

  /** Of a padded stream there is one chunk for every step, whatever there is to say, of a bounded length. */
  async *#plainChunks(): AsyncGenerator<object, void> {
    const { includeUsage } = this.#context;
    const { choices } = this.#options.prepared;
    let unfinished = choices.length;
    const parsers = choices.map(() => (this.#params.callsTools ? new ToolCallParser() : null));
    const gates = choices.map(() => (this.#params.pad ? new TextGate() : null));
    for await (const one of this.#decoding.steps()) {
      const { index, step } = one;
      const parser = parsers[index] ?? null;
      const gate = gates[index] ?? null;
      yield* this.#stepChunks(one, contentOf(parser, step), gate);
      if (step.finish === null) continue;
      while (gate !== null && !gate.empty) yield this.#chunk(index, { text: gate.pass("") });
      const last = --unfinished === 0 && !includeUsage;
      const finish = finishOf(step.finish, parser?.calls ?? 0);
      yield this.#chunk(index, { finish, metrics: last ? this.#metrics() : null });
    }
    if (includeUsage) yield usageChunk(this.#context, this.#decoding.usage(), this.#metrics());
  }

  *#stepChunks(one: ChoiceStep, { content, calls }: Parsed, gate: TextGate | null): Generator<object, void> {
    const { speculation, logProbs, api } = this.#params;
    const { index, choice, event, step } = one;
    if (event.call === 0 && api === "chat") yield this.#chunk(index, { text: null });
    if (event.call === 0 && choice.echo !== "") yield this.#chunk(index, { text: choice.echo });
    const text = gate === null ? content : gate.pass(content);
    const trace = speculation.trace ? this.#decoding.trace(one) : null;
    const silent = gate === null && text === "" && calls.length === 0;
    if (silent && trace === null && (logProbs === null || step.entries.length === 0)) return;
    yield this.#chunk(index, { text, calls, logProbs: this.#logProbs(step.entries), trace });
  }

  #chunk(index: number, parts: Partial<ChunkParts>): ReturnType<typeof chunkOf> {
    const none = { text: "", calls: [], finish: null, logProbs: null, trace: null, metrics: null };
    return chunkOf(this.#context, { index, ...none, ...parts });
  }

  #logProbs(entries: readonly TokenEntry[]): LogProbsBody {
    if (this.#params.logProbs === null) return null;
    const render = this.#params.api === "chat" ? chatLogProbs : completionLogProbs;
    return render(this.#options.prepared.bundle.tokenizer, entries);
  }

  #metrics(): Metrics {
    return this.#decoding.metrics(this.#params.speculation.trace);
  }
}

function gather(calls: ToolCall[], parts: readonly CallPart[]): void {
  for (const part of parts) {
    if ("name" in part) calls.push({ name: part.name, arguments: "" });
    else calls[part.index] = { ...calls[part.index]!, arguments: calls[part.index]!.arguments + part.arguments };
  }
}
