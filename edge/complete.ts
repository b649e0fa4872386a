import { ReceiptBook } from "../shared/decode/receipt.ts";
import { decode, type StepEvent } from "../shared/decode/run.ts";
import type { CancelSignal, StepEngine } from "../shared/engine.ts";
import { chatLogProbs, completionLogProbs } from "./openai/logprobs.ts";
import type { CompletionParams } from "./openai/params.ts";
import { receiptBody } from "./openai/receipt.ts";
import {
  type ChunkParts,
  chunkOf,
  fullBody,
  type LogProbsBody,
  type Metrics,
  metricsOf,
  type ResponseContext,
  usageChunk,
  usageOf,
} from "./openai/responses.ts";
import { DecodeStats } from "./openai/stats.ts";
import { type StepTrace, traceOf } from "./openai/trace.ts";
import type { Prepared } from "./prepare.ts";
import { type TextStep, type TokenEntry, Transcript } from "./text/transcript.ts";

/** One completion being made: its request, who makes it, and the counters that fill up. */
export class Completion {
  readonly #params: CompletionParams;
  readonly #prepared: Prepared;
  readonly #engine: StepEngine;
  readonly #signal: CancelSignal;
  readonly #now: () => number;
  readonly #receivedAt: number;
  readonly #context: ResponseContext;
  readonly #stats = new DecodeStats();
  /** null: nobody asked for a receipt. */
  readonly #receipt: ReceiptBook | null;
  #firstTokenAt = 0;

  constructor(options: {
    readonly params: CompletionParams;
    readonly prepared: Prepared;
    readonly engine: StepEngine;
    readonly signal: CancelSignal;
    /** ms */
    readonly now: () => number;
    /** When the request arrived, by `now`. */
    readonly receivedAt: number;
    /** Unix time, seconds. */
    readonly created: number;
  }) {
    const { params, prepared, engine, signal, now, receivedAt, created } = options;
    this.#params = params;
    this.#receipt = params.speculation.receipt ? new ReceiptBook() : null;
    this.#prepared = prepared;
    this.#engine = engine;
    this.#signal = signal;
    this.#now = now;
    this.#receivedAt = receivedAt;
    const { manifest } = prepared.bundle;
    this.#context = {
      api: params.api,
      id: `${params.api === "chat" ? "chatcmpl" : "cmpl"}-${crypto.randomUUID().replaceAll("-", "")}`,
      created,
      model: manifest.name,
      fingerprint: `fp_${manifest.graphs.base.sha256.slice(0, 10)}`,
      includeUsage: params.includeUsage,
    };
  }

  /** The whole completion as one object, and its metrics. */
  async full(): Promise<{ body: ReturnType<typeof fullBody>; metrics: Metrics }> {
    let text = "";
    let finish: TextStep["finish"] = null;
    const entries: TokenEntry[] = [];
    const traces: StepTrace[] = [];
    for await (const { event, step } of this.#steps()) {
      text += step.text;
      finish = step.finish;
      entries.push(...step.entries);
      if (this.#params.speculation.trace) traces.push(this.#trace(event, step));
    }
    const metrics = this.#metrics();
    const body = fullBody(this.#context, {
      text,
      // decode() ends only by finishing or by an error.
      finish: finish ?? "length",
      logProbs: this.#logProbs(entries),
      usage: usageOf(this.#prepared.promptTokens, this.#stats),
      metrics,
      steps: this.#params.speculation.trace ? traces : null,
    });
    return { body, metrics };
  }

  /** The completion as stream chunks. The first one comes with the first token. */
  async *chunks(): AsyncGenerator<unknown, void> {
    const { speculation, logProbs, api } = this.#params;
    let finish: TextStep["finish"] = null;
    for await (const { event, step } of this.#steps()) {
      finish = step.finish;
      if (event.index === 0 && api === "chat") yield this.#chunk({ text: null });
      const trace = speculation.trace ? this.#trace(event, step) : null;
      if (step.text === "" && trace === null && (logProbs === null || step.entries.length === 0)) continue;
      yield this.#chunk({ text: step.text, logProbs: this.#logProbs(step.entries), trace });
    }
    const metrics = this.#metrics();
    const { includeUsage } = this.#context;
    yield this.#chunk({ text: "", finish: finish ?? "length", metrics: includeUsage ? null : metrics });
    if (includeUsage) yield usageChunk(this.#context, usageOf(this.#prepared.promptTokens, this.#stats), metrics);
  }

  async *#steps(): AsyncGenerator<{ readonly event: StepEvent; readonly step: TextStep }, void> {
    const transcript = new Transcript(this.#prepared.bundle.tokenizer, this.#params.stop);
    const request = { ...this.#prepared.request, signal: this.#signal, now: this.#now };
    for await (const event of decode(this.#engine, request)) {
      if (event.index === 0) this.#firstTokenAt = this.#now();
      const step = transcript.push(event);
      this.#stats.record(event, step.kept);
      this.#receipt?.record(event, step.kept);
      yield { event, step };
      if (step.finish !== null) return;
    }
  }

  #chunk(parts: Partial<ChunkParts>): ReturnType<typeof chunkOf> {
    return chunkOf(this.#context, { text: "", finish: null, logProbs: null, trace: null, metrics: null, ...parts });
  }

  #trace(event: StepEvent, step: TextStep): StepTrace {
    return traceOf(this.#prepared.bundle.tokenizer, event, step);
  }

  #logProbs(entries: readonly TokenEntry[]): LogProbsBody {
    if (this.#params.logProbs === null) return null;
    const render = this.#params.api === "chat" ? chatLogProbs : completionLogProbs;
    return render(this.#prepared.bundle.tokenizer, entries);
  }

  #metrics(): Metrics {
    const times = { ttftMs: this.#firstTokenAt - this.#receivedAt, totalMs: this.#now() - this.#receivedAt };
    const { maxNodes, elsewhere } = this.#prepared.request;
    const { chosen } = elsewhere.placement;
    const metrics = metricsOf(this.#stats, times, chosen, maxNodes, this.#params.speculation.trace);
    return this.#receipt === null ? metrics : { ...metrics, receipt: receiptBody(this.#receipt) };
  }
}
