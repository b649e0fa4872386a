import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { abandon } from "../../bench/abuse/abandon.ts";
import { keyHash } from "../../scripts/edge-state.ts";
import { eventually, type Service, startService } from "./service.ts";

/** Traces of both processes, as a receiver of OTLP over HTTP gets them. */

interface Attribute {
  readonly key: string;
  readonly value: object;
}
interface WireSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly Attribute[];
  readonly status: { readonly code: number };
}
interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeSpans: readonly { readonly spans: readonly WireSpan[] }[];
  }[];
}
type Span = WireSpan & { readonly service: string };

const KEY = "the key of a caller";
const PROMPT = "Once upon a midnight dreary";
const ASK = { model: "tiny", prompt: PROMPT, max_tokens: 24, temperature: 0 };

let receiver: Server;
let service: Service;
let spans: Span[] = [];
let bodies: string[] = [];

beforeAll(async () => {
  receiver = createServer(async (request, response) => {
    const body = await text(request);
    const sound = request.url === "/v1/traces" && request.headers.authorization === "Bearer of traces";
    if (sound) receive(body);
    response.writeHead(sound ? 200 : 400).end("{}");
  });
  await once(receiver.listen(0, "127.0.0.1"), "listening");
  const variables = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`,
    OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20of%20traces",
  };
  service = await startService({ engine: "tiny", env: variables, vars: { ...variables, API_KEYS: keyHash(KEY) } });
});
afterAll(async () => {
  await service?.close();
  receiver.close();
});
beforeEach(() => {
  spans = [];
  bodies = [];
});

function receive(body: string): void {
  bodies.push(body);
  for (const { resource, scopeSpans } of (JSON.parse(body) as Export).resourceSpans) {
    const service = String(attributesOf(resource)["service.name"]);
    for (const scope of scopeSpans) spans.push(...scope.spans.map((span) => ({ ...span, service })));
  }
}

function attributesOf({ attributes }: { readonly attributes: readonly Attribute[] }): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}

function post(body: object, headers: Record<string, string> = {}): Promise<Response> {
  const all = { "content-type": "application/json", authorization: `Bearer ${KEY}`, ...headers };
  return service.post("/v1/completions", body, { headers: all });
}

/** The spans, once both processes have sent theirs. */
function received(): Promise<Span[]> {
  const roots = ["POST /v1/completions", "session"];
  return eventually(
    async () => spans,
    (all) => roots.every((name, i) => all.some((span) => span.name === name && span.service === SERVICES[i])),
  );
}
const SERVICES = ["foredraft-edge", "foredraft-gpu-worker"];

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const CALLER = "b7ad6b7169203331";

test.each([
  ["edge", "steps"],
  ["gpu", "run"],
])("one trace goes from the caller through edge and gpu-worker, drafted at: %s", async (placement, stretch) => {
  const headers = { traceparent: `00-${TRACE}-${CALLER}-01`, tracestate: "other=1" };
  const answer = await post({ ...ASK, speculation: { placement } }, headers);
  const { usage } = (await answer.json()) as { usage: { prompt_tokens: number; completion_tokens: number } };
  const all = await received();
  expect(new Set(all.map(({ traceId }) => traceId))).toEqual(new Set([TRACE]));
  const byId = new Map(all.map((span) => [span.spanId, span]));
  const path = (span: Span): string => {
    const parent = byId.get(span.parentSpanId ?? "");
    const name = `${span.service === SERVICES[0] ? "edge" : "gpu"}:${span.name}`;
    return parent === undefined ? `${span.parentSpanId} > ${name}` : `${path(parent)} > ${name}`;
  };
  const request = `${CALLER} > edge:POST /v1/completions`;
  const session = `${request} > edge:session`;
  // One span for all steps, however many: what a step took is in /metrics.
  expect(all.map(path).sort()).toEqual(
    [
      request,
      `${request} > edge:admit`,
      `${request} > edge:prepare`,
      session,
      `${session} > edge:decode`,
      `${session} > edge:open`,
      `${session} > gpu:session`,
      ...["queue", "prefill", stretch].map((name) => `${session} > gpu:session > gpu:${name}`),
    ].sort(),
  );
  const one = (name: string, of = 0) => all.find((span) => span.name === name && span.service === SERVICES[of])!;
  expect(attributesOf(one("POST /v1/completions"))).toMatchObject({
    "gen_ai.usage.input_tokens": usage.prompt_tokens,
    "gen_ai.usage.output_tokens": usage.completion_tokens,
  });
  expect(attributesOf(one("decode"))["foredraft.tokens"]).toBe(usage.completion_tokens);
  expect(attributesOf(one(stretch, 1))["foredraft.steps"]).toBe(attributesOf(one("decode"))["foredraft.steps"]);
  for (const { startTimeUnixNano, endTimeUnixNano } of all) {
    expect(BigInt(endTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(startTimeUnixNano));
  }
  // Names and numbers alone.
  for (const secret of ["midnight", KEY, keyHash(KEY).slice(0, 16), service.gpuKey]) {
    expect(bodies.filter((body) => body.includes(secret))).toEqual([]);
  }
});

test("a trace begins here where the caller has none, and each choice has a session", async () => {
  await post({ ...ASK, n: 2 });
  const all = await eventually(received, (known) => known.filter(({ name }) => name === "session").length === 4);
  expect(new Set(all.map(({ traceId }) => traceId)).size).toBe(1);
  expect(all.find(({ name }) => name === "POST /v1/completions")!.parentSpanId).toBeFalsy();
});

test("a request that is refused is a failed span with its code, and nothing of what was sent", async () => {
  expect((await post({ ...ASK, stop: [PROMPT.repeat(20)] })).status).toBe(400);
  const [span] = await eventually(
    async () => spans.filter(({ name }) => name === "POST /v1/completions"),
    (known) => known.length === 1,
  );
  expect(attributesOf(span!)).toMatchObject({ "error.type": "invalid_request" });
  expect(span!.status.code).toBe(2);
  expect(bodies.join()).not.toContain("midnight");
});

test("a completion that the gpu-worker answers itself is one trace, too", async () => {
  const headers = { "content-type": "application/json", authorization: `Bearer ${service.gpuKey}` };
  const response = await fetch(`${service.gpuWorker.url}/v1/completions`, {
    method: "POST",
    headers: { ...headers, traceparent: `00-${TRACE}-${CALLER}-01` },
    body: JSON.stringify(ASK),
  });
  expect(response.status).toBe(200);
  const all = await eventually(
    async () => spans,
    (known) => known.some(({ name }) => name === "POST /v1/completions"),
  );
  expect(new Set(all.map((span) => `${span.traceId} ${span.service}`))).toEqual(new Set([`${TRACE} ${SERVICES[1]}`]));
  expect(all.map(({ name }) => name).sort()).toEqual([
    "POST /v1/completions",
    "admit",
    "decode",
    "open",
    "prepare",
    "session",
  ]);
});

test("a client that leaves ends its spans", async () => {
  const url = `${service.url}/v1/completions`;
  await abandon(url, { ...ASK, max_tokens: 2000, stream: true }, "rst", { afterFrames: 2, key: KEY });
  const all = await received();
  expect(all.map(({ name }) => name)).toContain("decode");
});

test("a caller whose trace is not kept has none here", async () => {
  await (await post(ASK, { traceparent: `00-${TRACE}-${CALLER}-00` })).text();
  // What is sent later has been sent after it.
  await (await post(ASK, { traceparent: `00-${TRACE.replace("0af", "1af")}-${CALLER}-01` })).text();
  expect((await received()).filter(({ traceId }) => traceId === TRACE)).toEqual([]);
});
