import { LIMITS } from "../../shared/limits.ts";
import type { AppContext, Services } from "../app.ts";
import { Completion } from "../complete.ts";
import { tenantOf } from "../http/auth.ts";
import { readJson } from "../http/body.ts";
import { asStepError, errorBody, isFault } from "../http/errors.ts";
import { checkRate } from "../http/limits.ts";
import { KEEP_ALIVE_MS, SSE_HEADERS, sseStream } from "../http/sse.ts";
import type { CompletionParams } from "../openai/params.ts";
import { serverTiming } from "../openai/responses.ts";
import { prepare } from "../prepare.ts";

/** Names the fields that were sent and change nothing. */
export const IGNORED_HEADER = "x-ignored-fields";

/** POST /v1/chat/completions and /v1/completions; `parse` tells their bodies apart. */
export async function completionsRoute(
  c: AppContext,
  services: Services,
  parse: (body: unknown) => CompletionParams,
): Promise<Response> {
  const receivedAt = services.now();
  await checkRate(services.limiter, c.get("caller"), services.config);
  const params = parse(await readJson(c.req.raw));
  const most = Math.min(params.inputs.length * params.n, LIMITS.choicesAtOnce);
  const { count, release } = services.slots.takeSome(c.get("caller"), most);
  const cancel = followAbort(c.req.raw.signal, release);
  if (params.ignored.length > 0) c.header(IGNORED_HEADER, params.ignored.join(", "));
  try {
    const tenant = await tenantOf(c.get("caller"));
    const completion = new Completion({
      params,
      prepared: await prepare(params, { bundles: services.bundles, tenant }),
      engine: services.engine,
      width: count,
      signal: cancel.signal,
      now: services.now,
      receivedAt,
      created: Math.floor(services.date() / 1000),
    });
    if (params.stream) return await stream(c, services, completion, { cancel, release });
    const { body, metrics } = await completion.full();
    c.header("server-timing", serverTiming(metrics));
    release();
    return c.json(body);
  } catch (error) {
    release();
    throw error;
  }
}

/**
 * Starts the stream with the first token, so that whatever fails before it (the prefill included) still
 * gets its own HTTP status.
 */
async function stream(
  c: AppContext,
  services: Services,
  completion: Completion,
  { cancel, release }: { readonly cancel: AbortController; readonly release: () => void },
): Promise<Response> {
  const chunks = completion.chunks();
  const first = await chunks.next();
  const body = sseStream(withFirst(first, chunks), {
    keepAliveMs: KEEP_ALIVE_MS,
    errorData: (error) => {
      const fault = asStepError(error);
      if (isFault(fault)) services.logError(c.get("requestId"), error);
      return errorBody(fault);
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
