import {
  type Attributes,
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { JsonTraceSerializer } from "@opentelemetry/otlp-transformer";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  BasicTracerProvider,
  ParentBasedSampler,
  type ReadableSpan,
  type SpanProcessor,
  TraceIdRatioBasedSampler,
} from "@opentelemetry/sdk-trace-base";

/** W3C trace context, as it travels in HTTP headers. */
export interface TraceHeaders {
  readonly traceparent?: string;
  readonly tracestate?: string;
}

/** What is needed of fetch; resolves with any answer. */
export type Post = (
  url: string,
  init: {
    readonly method: "POST";
    readonly headers: Record<string, string>;
    readonly body: Uint8Array<ArrayBuffer>;
    readonly redirect: "manual";
  },
) => Promise<{ readonly ok: boolean; readonly status: number }>;

/** Where spans go, by OpenTelemetry's own variables. */
export interface TracingConfig {
  /** OTEL_EXPORTER_OTLP_ENDPOINT: of OTLP over HTTP; the spans' path is added. */
  readonly endpoint: string;
  /** OTEL_EXPORTER_OTLP_HEADERS: `name=value`, comma-separated, percent-encoded. */
  readonly headers: string;
  /** OTEL_TRACES_SAMPLER_ARG: share of traces that begin here and are kept, 0..1; others go by their beginning. */
  readonly ratio: number;
}

export interface TracingOptions extends TracingConfig {
  /** What this process is called in a trace. */
  readonly service: string;
  readonly post: Post;
  readonly logError: (error: unknown) => void;
}

/** Spans that wait to be sent; more are dropped. */
const MAX_SPANS = 4096;

/**
 * Spans of one process, by OpenTelemetry's SDK, sent as OTLP in JSON when somebody says so: in workerd timers and requests
 * belong to whoever is being answered. Attributes hold counts and names, never texts or keys.
 */
export class Tracing {
  readonly #tracer: Tracer;
  readonly #propagator = new W3CTraceContextPropagator();
  readonly #options: TracingOptions;
  readonly #ended: ReadableSpan[] = [];

  constructor(options: TracingOptions) {
    this.#options = options;
    const ended = this.#ended;
    const collect: SpanProcessor = {
      onStart: () => undefined,
      onEnd: (span) => {
        if (ended.length < MAX_SPANS) ended.push(span);
      },
      forceFlush: async () => undefined,
      shutdown: async () => undefined,
    };
    const provider = new BasicTracerProvider({
      resource: resourceFromAttributes({ "service.name": options.service }),
      sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(options.ratio) }),
      spanProcessors: [collect],
    });
    this.#tracer = provider.getTracer("foredraft");
  }

  /** This process's part of a request; it goes on where `headers` say. `at`: Unix time, ms, as everywhere here. */
  begin(name: string, headers: TraceHeaders, at: number): Activity {
    const parent = this.#propagator.extract(ROOT_CONTEXT, headers, {
      get: (carrier, key) => (key === "traceparent" || key === "tracestate" ? carrier[key] : undefined),
      keys: (carrier) => Object.keys(carrier),
    });
    return new Activity(this.#tracer, this.#propagator, parent, { name, kind: SpanKind.SERVER, at });
  }

  /** Sends all spans that have ended, once: those that are not taken are lost. Never rejects. */
  async flush(): Promise<void> {
    const spans = this.#ended.splice(0);
    if (spans.length > 0) await this.#send(spans).catch(this.#options.logError);
  }

  async #send(spans: ReadableSpan[]): Promise<void> {
    const body = JsonTraceSerializer.serializeRequest(spans);
    if (body === undefined) return;
    const { endpoint, headers, post } = this.#options;
    const response = await post(`${endpoint.replace(/\/+$/, "")}/v1/traces`, {
      method: "POST",
      headers: { ...parseHeaders(headers), "content-type": "application/json" },
      body: new Uint8Array(body),
      redirect: "manual",
    });
    if (!response.ok) throw new Error(`the receiver of traces answered ${response.status}`);
  }
}

/** One span, and what happens within it. */
export class Activity {
  readonly #tracer: Tracer;
  readonly #propagator: W3CTraceContextPropagator;
  readonly #span: Span;
  readonly #context: Context;

  constructor(
    tracer: Tracer,
    propagator: W3CTraceContextPropagator,
    parent: Context,
    { name, kind, at }: { readonly name: string; readonly kind: SpanKind; readonly at: number },
  ) {
    this.#tracer = tracer;
    this.#propagator = propagator;
    this.#span = tracer.startSpan(name, { kind, startTime: at }, parent);
    this.#context = trace.setSpan(parent, this.#span);
  }

  child(name: string, at: number): Activity {
    return new Activity(this.#tracer, this.#propagator, this.#context, { name, kind: SpanKind.INTERNAL, at });
  }

  /** What another process goes on with, by `headers`. */
  call(name: string, at: number): Activity {
    return new Activity(this.#tracer, this.#propagator, this.#context, { name, kind: SpanKind.CLIENT, at });
  }

  get headers(): TraceHeaders {
    const headers: { traceparent?: string; tracestate?: string } = {};
    this.#propagator.inject(this.#context, headers, {
      set(carrier, key, value) {
        if (key === "traceparent" || key === "tracestate") carrier[key] = value;
      },
    });
    return headers;
  }

  set(attributes: Attributes): void {
    this.#span.setAttributes(attributes);
  }

  /** `error`: a code, where it failed. Later calls change nothing. */
  end(at: number, error: string | null = null): void {
    if (!this.#span.isRecording()) return;
    if (error !== null) {
      this.#span.setAttribute("error.type", error);
      this.#span.setStatus({ code: SpanStatusCode.ERROR });
    }
    this.#span.end(at);
  }
}

function parseHeaders(text: string): Record<string, string> {
  const pairs = text.split(",").flatMap((item): [string, string][] => {
    const at = item.indexOf("=");
    return at <= 0 ? [] : [[item.slice(0, at).trim(), decodeURIComponent(item.slice(at + 1).trim())]];
  });
  return Object.fromEntries(pairs);
}
