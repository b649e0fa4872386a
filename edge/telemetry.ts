import type { StepEvent } from "../shared/decode/run.ts";
import type { Activity, TraceHeaders, Tracing } from "../shared/telemetry/tracing.ts";
import { asStepError } from "./http/errors.ts";
import type { Usage } from "./openai/answer-schemas.ts";

export interface RequestTraceOptions {
  readonly tracing: Tracing;
  /** HTTP method and route. */
  readonly name: string;
  readonly requestId: string;
  readonly headers: Headers;
  /** Unix time, ms. */
  readonly date: () => number;
  /** Keeps the request alive until the spans are sent, if the runtime would end it. */
  readonly waitUntil: (sent: Promise<void>) => void;
}

/** One request's spans at the edge: its parts one after the other, then a session for each choice. */
export class RequestTrace {
  readonly #options: RequestTraceOptions;
  readonly #request: Activity;
  readonly #sessions = new Set<SessionTrace>();
  readonly #sent = Promise.withResolvers<void>();
  #part: Activity | null = null;
  #ended = false;

  constructor(options: RequestTraceOptions) {
    this.#options = options;
    this.#request = options.tracing.begin(options.name, headersOf(options.headers), options.date());
    this.#request.set({ "foredraft.request_id": options.requestId });
    options.waitUntil(this.#sent.promise);
  }

  /** The next part begins, and the one before has ended; null: none does. */
  part(name: string | null): void {
    const now = this.#options.date();
    this.#part?.end(now);
    this.#part = name === null ? null : this.#request.child(name, now);
  }

  session(model: string): SessionTrace {
    this.#request.set({ "gen_ai.request.model": model });
    const session = new SessionTrace(this.#request, this.#options.date);
    this.#sessions.add(session);
    return session;
  }

  /** Ends all of it; later calls change nothing. `error`: whatever was thrown. */
  end(usage: Usage | null, error: unknown = null): void {
    if (this.#ended) return;
    this.#ended = true;
    const code = error === null ? null : asStepError(error).code;
    this.#part?.end(this.#options.date(), code);
    for (const session of this.#sessions) session.end(error);
    if (usage !== null) {
      this.#request.set({
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "foredraft.cached_tokens": usage.prompt_tokens_details.cached_tokens,
      });
    }
    this.#request.end(this.#options.date(), code);
    this.#sent.resolve(this.#options.tracing.flush());
  }
}

/** One completion's session with a gpu-worker: opening it, and all that was decoded as one span. */
export class SessionTrace {
  readonly #date: () => number;
  readonly #session: Activity;
  readonly #opening: Activity;
  #decoding: Activity | null = null;
  #tokens = 0;
  #steps = 0;
  #stepsAtGpu = 0;
  #accepted = 0;
  #ended = false;

  constructor(request: Activity, date: () => number) {
    this.#date = date;
    this.#session = request.call("session", date());
    this.#opening = this.#session.child("open", date());
  }

  /** For the gpu-worker. */
  get headers(): TraceHeaders {
    return this.#session.headers;
  }

  record(event: StepEvent): void {
    this.#tokens += event.committed.length;
    if (event.call === 0) {
      const { queueMs, modelMs } = event.timing;
      const timing = { "foredraft.queue_ms": queueMs, "foredraft.model_ms": modelMs };
      this.#opening.set({ ...timing, "foredraft.cached_tokens": event.cachedTokens });
      this.#opening.end(this.#date());
      this.#decoding = this.#session.child("decode", this.#date());
      return;
    }
    this.#steps++;
    if (event.place === "gpu") this.#stepsAtGpu++;
    this.#accepted += event.committed.filter(({ kind }) => kind === "accepted").length;
  }

  end(error: unknown = null): void {
    if (this.#ended) return;
    this.#ended = true;
    const code = error === null ? null : asStepError(error).code;
    this.#decoding?.set({
      "foredraft.steps": this.#steps,
      "foredraft.steps_at_gpu": this.#stepsAtGpu,
      "foredraft.tokens": this.#tokens,
      "foredraft.accepted_tokens": this.#accepted,
    });
    const now = this.#date();
    this.#opening.end(now, code);
    this.#decoding?.end(now, code);
    this.#session.end(now, code);
  }
}

function headersOf(headers: Headers): TraceHeaders {
  const traceparent = headers.get("traceparent");
  const tracestate = headers.get("tracestate");
  return { ...(traceparent === null ? {} : { traceparent }), ...(tracestate === null ? {} : { tracestate }) };
}
