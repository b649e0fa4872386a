import { LIMITS } from "../../shared/limits.ts";
import type { AppContext, Services } from "../app.ts";
import { Completion } from "../complete.ts";
import type { DecodingOptions } from "../decoding.ts";
import { tenantOf } from "../http/auth.ts";
import { readJson } from "../http/body.ts";
import { asStepError, type ErrorBody, errorBody, isFault } from "../http/errors.ts";
import { checkRate } from "../http/limits.ts";
import { DONE, eventFrame, frame, KEEP_ALIVE_MS, SSE_HEADERS, sseStream } from "../http/sse.ts";
import type { Metrics } from "../openai/answer-schemas.ts";
import { type CompletionParams, parseChat, parseCompletion } from "../openai/params.ts";
import { parseResponse, type ResponseParams } from "../openai/response-params.ts";
import { serverTiming } from "../openai/responses.ts";
import { TenantPacks } from "../packs/tenant-packs.ts";
import { prepare, type Tenant } from "../prepare.ts";
import { Responding } from "../respond.ts";

/** Names the fields that were sent and change nothing. */
export const IGNORED_HEADER = "x-ignored-fields";

/** An answer being made. */
interface Answer {
  full(): Promise<{ readonly body: object; readonly metrics: Metrics }>;
  /** Items of a stream. */
  chunks(): AsyncGenerator<unknown, void>;
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
  await checkRate(services.limiter, c.get("caller"), services.config);
  const params = api.parse(await readJson(c.req.raw));
  const most = Math.min(params.inputs.length * params.n, LIMITS.choicesAtOnce);
  const { count, release } = services.slots.takeSome(c.get("caller"), most);
  const cancel = followAbort(c.req.raw.signal, release);
  if (params.ignored.length > 0) c.header(IGNORED_HEADER, params.ignored.join(", "));
  try {
    const tenant = await callerAsTenant(c, services);
    const answer = api.answer({
      params,
      prepared: await prepare(params, { bundles: services.bundles, tenant, here: services.here }),
      engine: services.engine,
      width: count,
      signal: cancel.signal,
      now: services.now,
      receivedAt,
      created: Math.floor(services.date() / 1000),
    });
    if (params.stream)
      return await stream(c, services, { answer, frame: api.frame, done: api.done }, { cancel, release });
    const { body, metrics } = await answer.full();
    c.header("server-timing", serverTiming(metrics));
    release();
    return c.json(body);
  } catch (error) {
    release();
    throw error;
  }
}

async function callerAsTenant(c: AppContext, { memory, packs, loadedPacks, logError }: Services): Promise<Tenant> {
  const caller = c.get("caller");
  const { memoryName } = caller;
  return {
    name: await tenantOf(caller),
    memory: memoryName === null ? null : (memory?.(memoryName) ?? null),
    packs: memoryName === null || packs === null ? null : new TenantPacks(memoryName, packs(memoryName), loadedPacks),
    logError: (error) => logError(c.get("requestId"), error),
  };
}

/**
 * Starts the stream with the first token, so that whatever fails before it (the prefill included) still
 * gets its own HTTP status.
 */
async function stream(
  c: AppContext,
  services: Services,
  { answer, frame, done }: { readonly answer: Answer } & Pick<Api<CompletionParams>, "frame" | "done">,
  { cancel, release }: { readonly cancel: AbortController; readonly release: () => void },
): Promise<Response> {
  const chunks = answer.chunks();
  const first = await chunks.next();
  const body = sseStream(withFirst(first, chunks), {
    keepAliveMs: KEEP_ALIVE_MS,
    frame,
    done,
    errorData: (error) => {
      const fault = asStepError(error);
      if (isFault(fault)) services.logError(c.get("requestId"), error);
      const told = errorBody(fault);
      return answer.errorEvent?.(told.error) ?? told;
    },
    onCancel: () => cancel.abort(),
    onEnd: release,
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
 * Aborts when the client goes away (where the runtime says so) or when told to; `release` is called with it, because
 * in workerd nothing that waits for something else runs any more then.
 */
function followAbort(client: AbortSignal, release: () => void): AbortController {
  const controller = new AbortController();
  controller.signal.addEventListener("abort", release, { once: true });
  if (client.aborted) controller.abort();
  else client.addEventListener("abort", () => controller.abort(), { once: true });
  return controller;
}
