import type { Placement } from "../../shared/decode/placement.ts";
import { ReceiptBook } from "../../shared/decode/receipt.ts";
import { decode, type StepEvent } from "../../shared/decode/run.ts";
import type { CancelSignal, StepEngine } from "../../shared/engine.ts";
import type { TokenId } from "../../shared/ids.ts";
import type { Metrics, StepTrace, Usage } from "../openai/answer-schemas.ts";
import { receiptBody } from "../openai/receipt.ts";
import { metricsOf, usageOf } from "../openai/responses.ts";
import { DecodeStats } from "../openai/stats.ts";
import { traceOf } from "../openai/trace.ts";
import type { RequestTrace } from "../telemetry.ts";
import { type TextStep, Transcript } from "../text/transcript.ts";
import { interleave } from "./interleave.ts";
import type { Prepared, PreparedChoice } from "./prepare.ts";

/** One step of one of a request's choices. */
export interface ChoiceStep {
  /** Its number among the choices. */
  readonly index: number;
  readonly choice: PreparedChoice;
  readonly event: StepEvent;
  readonly step: TextStep;
}

export interface DecodingOptions {
  readonly prepared: Prepared;
  readonly engine: StepEngine;
  readonly signal: CancelSignal;
  /** ms */
  readonly now: () => number;
  /** When the request arrived, by `now`. */
  readonly receivedAt: number;
  /** Choices decoded at once. */
  readonly width: number;
  /** null: it is not traced. */
  readonly trace: RequestTrace | null;
}

/** All choices of one request being decoded, and the counters that fill up. */
export class Decoding {
  readonly #options: DecodingOptions;
  readonly #stats = new DecodeStats();
  /** [choices] null: nobody asked for a receipt. */
  readonly #receipts: readonly ReceiptBook[] | null;
  #firstTokenAt: number | null = null;

  constructor(options: DecodingOptions) {
    this.#options = options;
    const { receipt, choices } = options.prepared;
    this.#receipts = receipt ? choices.map(() => new ReceiptBook()) : null;
  }

  /**
   * Choices of one prompt begin once its first one has: what that has computed of the prompt is theirs, too. An error
   * of one ends all.
   */
  async *steps(): AsyncGenerator<ChoiceStep, void> {
    const { prepared, signal, width } = this.#options;
    const own = new AbortController();
    const stop = () => own.abort();
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
    const sources = prepared.choices.map((choice, index) => ({
      open: () => this.#choice(choice, index, own.signal),
      after: choice.sharesWith,
    }));
    try {
      yield* interleave(sources, width, stop);
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  trace({ event, step }: ChoiceStep): StepTrace {
    return traceOf(this.#options.prepared.bundle.tokenizer, event, step);
  }

  usage(): Usage {
    return usageOf(this.#options.prepared.promptTokens, this.#stats);
  }

  metrics(detailed: boolean): Metrics {
    const { now, receivedAt, prepared } = this.#options;
    const endedAt = now();
    const times = { ttftMs: (this.#firstTokenAt ?? endedAt) - receivedAt, totalMs: endedAt - receivedAt };
    const metrics = metricsOf(this.#stats, times, this.#placement.chosen, prepared.maxNodes, detailed);
    return this.#receipts === null ? metrics : { ...metrics, receipt: receiptBody(this.#receipts) };
  }

  get #placement(): Placement {
    return this.#options.prepared.choices[0]!.request.elsewhere.placement;
  }

  async *#choice(choice: PreparedChoice, index: number, signal: CancelSignal): AsyncGenerator<ChoiceStep, void> {
    const { prepared, now } = this.#options;
    const transcript = new Transcript(prepared.bundle.tokenizer, prepared.stop);
    const { recollection } = prepared;
    const kept: TokenId[] = [];
    for await (const event of this.#traced(choice.request, signal)) {
      this.#firstTokenAt ??= now();
      const step = transcript.push(event);
      this.#stats.record(event, { kept: step.kept, sharesPrompt: choice.sharesWith !== null });
      this.#receipts?.[index]?.record(event, step.kept);
      if (recollection !== null) kept.push(...event.committed.slice(0, step.kept).map(({ token }) => token));
      // Whoever has read the end finds it remembered.
      if (step.finish !== null) await recollection?.remember(choice.request.spec.prompt, kept);
      yield { index, choice, event, step };
      if (step.finish !== null) return;
    }
  }

  async *#traced(request: PreparedChoice["request"], signal: CancelSignal): AsyncGenerator<StepEvent, void> {
    const { engine, now, trace } = this.#options;
    if (trace === null) return yield* decode(engine, { ...request, signal, now });
    const session = trace.session(request.spec.model);
    const spec = { ...request.spec, trace: session.headers };
    try {
      for await (const event of decode(engine, { ...request, spec, signal, now })) {
        session.record(event);
        yield event;
      }
    } catch (error) {
      session.end(error);
      throw error;
    } finally {
      session.end();
    }
  }
}
