import { LIMITS } from "../../shared/limits.ts";
import { Completion } from "../completion/complete.ts";
import type { DecodingOptions } from "../completion/decoding.ts";
import { type Prepared, prepare, type Tenant } from "../completion/prepare.ts";
import { Responding } from "../completion/respond.ts";
import { tenantOf } from "../http/auth.ts";
import { readJson } from "../http/body.ts";
import { asStepError, type ErrorBody, errorBody, isFault } from "../http/errors.ts";
import { checkRate } from "../http/limits.ts";
import { DONE, eventFrame, frame, KEEP_ALIVE_MS, SSE_HEADERS, sseStream } from "../http/sse.ts";
import { admit } from "../keys/admission.ts";
import type { Used } from "../keys/record.ts";
import type { Metrics, Usage } from "../openai/answer-schemas.ts";
import { type CompletionParams, parseChat, parseCompletion } from "../openai/params.ts";
import { parseResponse, type ResponseParams } from "../openai/response-params.ts";
import { serverTiming } from "../openai/responses.ts";
import { TenantPacks } from "../packs/tenant-packs.ts";
import type { AppContext, Services } from "../services.ts";
import { RequestTrace } from "../telemetry.ts";

/** Names the fields that were sent and change nothing. */
export const IGNORED_HEADER = "x-ignored-fields";

/** An answer being made. */
interface Answer {
  full(): Promise<{ readonly body: object; readonly metrics: Metrics }>;
  /** Items of a stream. */
  chunks(): AsyncGenerator<unknown, void>;
  /** So far. */
  usage(): Usage;
  /** An error within a stream, as its last item. */
  errorEvent?(error: ErrorBody["error"]): unknown;
}

/** What tells the APIs apart. */
interface Api<P extends CompletionParams> {
  readonly parse: (body: unknown) => P;
  readonly answer: (options: DecodingOptions & { readonly params: P; readonly created: number }) => Answer;
  /** An item of a stream as it is sent, and what comes after the last one. */
  readonly frame: (item: unknown) => string;
  readonly done: string;
}

const completion = { answer: (options: ConstructorParameters<typeof Completion>[0]) => new Completion(options) };
export const CHAT: Api<CompletionParams> = { ...completion, parse: parseChat, frame, done: DONE };
export const COMPLETIONS: Api<CompletionParams> = { ...CHAT, parse: parseCompletion };
export const RESPONSES: Api<ResponseParams> = {
  parse: parseResponse,
  answer: (options) => new Responding(options),
  frame: eventFrame,
  done: "",
};

/** POST of what the model is to go on from. */
export async function completionsRoute<P extends CompletionParams>(
  c: AppContext,
  services: Services,
  api: Api<P>,
): Promise<Response> {
  const receivedAt = services.now();
  const caller = c.get("caller");
  const trace = traceOf(c, services);
  const held = new Held();
  const cancel = followAbort(c.req.raw.signal, held);
  try {
    // A stored key has a rate of its own, which is asked once it is known what the request may use.
    if (caller.key === null) await checkRate(services.limiter, caller, services.config);
    trace?.part("prepare");
    const params = api.parse(await readJson(c.req.raw));
    if (params.ignored.length > 0) c.header(IGNORED_HEADER, params.ignored.join(", "));
    const most = Math.min(params.inputs.length * params.n, LIMITS.choicesAtOnce);
    const { count, release } = services.slots.takeSome(caller, most);
    held.add(release);
    const tenant = await callerAsTenant(c, services);
    const prepared = await prepare(params, { bundles: services.bundles, tenant, here: services.here });
    trace?.part("admit");
    const grant = await admit(c, services, { streams: count, tokens: mostTokens(prepared) });
    trace?.part(null);
    const answer = api.answer({
      params,
      prepared,
      engine: services.engine,
      width: grant.streams,
      signal: cancel.signal,
      now: services.now,
      receivedAt,
      trace,
      created: Math.floor(services.date() / 1000),
    });
    held.add(() => grant.settle(usedOf(answer.usage())));
    held.add(() => trace?.end(answer.usage()));
    if (params.stream) {
      const { frame, done } = api;
      return await stream(c, services, { answer, frame, done }, { cancel, held, trace });
    }
    const { body, metrics } = await answer.full();
    c.header("server-timing", serverTiming(metrics));
    held.release();
    return c.json(body);
  } catch (error) {
    trace?.end(null, error);
    held.release();
    throw error;
  }
}

function traceOf(c: AppContext, { tracing, date, here }: Services): RequestTrace | null {
  if (tracing === null) return null;
  return new RequestTrace({
    tracing,
    name: `POST ${c.req.path}`,
    requestId: c.get("requestId"),
    headers: c.req.raw.headers,
    date,
    // Beside the model nothing ends a request before its time.
    waitUntil: (sent) => (here === "gpu" ? undefined : c.executionCtx.waitUntil(sent)),
  });
}

/** What a request holds until it ends, however it does. */
class Held {
  readonly #releases: (() => void)[] = [];
  #released = false;

  add(release: () => void): void {
    if (this.#released) release();
    else this.#releases.push(release);
  }

  /** May be called again, which changes nothing. */
  release(): void {
    this.#released = true;
    for (const release of this.#releases.splice(0)) release();
  }
}

/** Tokens that a request uses at most. */
function mostTokens({ promptTokens, choices }: Prepared): number {
  return choices.reduce((sum, { request }) => sum + request.limits.maxTokens, promptTokens);
}

/** Where no token came, no prompt is counted either. */
function usedOf({ prompt_tokens, completion_tokens, prompt_tokens_details }: Usage): Used {
  return {
    promptTokens: completion_tokens === 0 ? 0 : prompt_tokens,
    cachedTokens: prompt_tokens_details.cached_tokens,
    completionTokens: completion_tokens,
  };
}

async function callerAsTenant(c: AppContext, { memory, packs, loadedPacks, logError }: Services): Promise<Tenant> {
  const caller = c.get("caller");
  const { memoryName } = caller;
  return {
    name: await tenantOf(caller),
    memory: memoryName === null ? null : (memory?.(memoryName) ?? null),
    packs: memoryName === null || packs === null ? null : new TenantPacks(memoryName, packs(memoryName), loadedPacks),
    limits: caller.key?.record.limits ?? null,
    logError: (error) => logError(c.get("requestId"), error),
  };
}

interface Running {
  readonly cancel: AbortController;
  readonly held: Held;
  readonly trace: RequestTrace | null;
}

/**
 * Starts the stream with the first token, so that whatever fails before it (the prefill included) still
 * gets its own HTTP status.
 */
async function stream(
  c: AppContext,
  services: Services,
  { answer, frame, done }: { readonly answer: Answer } & Pick<Api<CompletionParams>, "frame" | "done">,
  { cancel, held, trace }: Running,
): Promise<Response> {
  const chunks = answer.chunks();
  const first = await chunks.next();
  const body = sseStream(withFirst(first, chunks), {
    keepAliveMs: KEEP_ALIVE_MS,
    frame,
    done,
    errorData: (error) => {
      trace?.end(answer.usage(), error);
      const fault = asStepError(error);
      if (isFault(fault)) services.logError(c.get("requestId"), error);
      const told = errorBody(fault);
      return answer.errorEvent?.(told.error) ?? told;
    },
    onCancel: () => cancel.abort(),
    onEnd: () => held.release(),
  });
  return c.body(body, 200, SSE_HEADERS);
}

async function* withFirst<T>(first: IteratorResult<T, void>, rest: AsyncGenerator<T, void>): AsyncGenerator<T, void> {
  try {
    if (!first.done) yield first.value;
    yield* rest;
  } finally {
    // A reader that leaves before asking for the second item never started `rest`.
    await rest.return();
  }
}

/**
 * Aborts when the client goes away (where the runtime says so) or when told to; `held` is released with it, because
 * in workerd nothing that waits for something else runs any more then.
 */
function followAbort(client: AbortSignal, held: Held): AbortController {
  const controller = new AbortController();
  controller.signal.addEventListener("abort", () => held.release(), { once: true });
  if (client.aborted) controller.abort();
  else client.addEventListener("abort", () => controller.abort(), { once: true });
  return controller;
}
