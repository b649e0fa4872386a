import type { IncomingHttpHeaders } from "node:http";
import type { StepResult } from "../../shared/engine.ts";
import type { Activity, Tracing } from "../../shared/telemetry/tracing.ts";

/** One session's spans: waiting, prefill, and the steps asked for, or drafted beside the model, each kind as one span. */
export class SessionTrace {
  readonly #session: Activity;
  #stretch: Stretch | null = null;
  #ended = false;

  constructor(tracing: Tracing, { traceparent, tracestate }: IncomingHttpHeaders) {
    const headers = {
      ...(typeof traceparent === "string" ? { traceparent } : {}),
      ...(typeof tracestate === "string" ? { tracestate } : {}),
    };
    this.#session = tracing.begin("session", headers, Date.now());
  }

  opened(promptTokens: number, cachedTokens: number, { timing }: StepResult): void {
    const now = Date.now();
    const prefillAt = now - timing.modelMs - timing.engineMs;
    this.#session.child("queue", prefillAt - timing.queueMs).end(prefillAt);
    const prefill = this.#session.child("prefill", prefillAt);
    prefill.set({ "gen_ai.usage.input_tokens": promptTokens, "foredraft.cached_tokens": cachedTokens });
    prefill.end(now);
  }

  stepped({ accepted, timing }: StepResult): void {
    this.#stretch ??= new Stretch(this.#session.child("steps", Date.now() - spent(timing)));
    this.#stretch.add(accepted.length, timing);
  }

  /** From here on the model's side drafts, until `paused`. */
  running(): void {
    this.#stretch?.end();
    this.#stretch = new Stretch(this.#session.child("run", Date.now()));
  }

  paused(): void {
    this.#stretch?.end();
    this.#stretch = null;
  }

  /** `error`: a code, where it failed. Later calls change nothing. */
  end(error: string | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stretch?.end();
    this.#session.end(Date.now(), error);
  }
}

/** Steps one after the other. */
class Stretch {
  readonly #span: Activity;
  #steps = 0;
  #tokens = 0;
  #queueMs = 0;
  #modelMs = 0;

  constructor(span: Activity) {
    this.#span = span;
  }

  add(accepted: number, { queueMs, modelMs }: StepResult["timing"]): void {
    this.#steps++;
    this.#tokens += accepted + 1;
    this.#queueMs += queueMs;
    this.#modelMs += modelMs;
  }

  end(): void {
    this.#span.set({
      "foredraft.steps": this.#steps,
      "foredraft.tokens": this.#tokens,
      "foredraft.queue_ms": this.#queueMs,
      "foredraft.model_ms": this.#modelMs,
    });
    this.#span.end(Date.now());
  }
}

function spent({ queueMs, modelMs, engineMs }: StepResult["timing"]): number {
  return queueMs + modelMs + engineMs;
}
