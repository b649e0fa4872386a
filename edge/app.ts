import { Hono } from "hono";
import { cors } from "hono/cors";
import { methodNotAllowed } from "hono/method-not-allowed";
import { requestId } from "hono/request-id";
import { StepError } from "../shared/errors.ts";
import { LIMITS } from "../shared/limits.ts";
import type { Config } from "./config.ts";
import { authenticate } from "./http/auth.ts";
import { drain } from "./http/body.ts";
import { asStepError, errorResponse, isFault } from "./http/errors.ts";
import { RateLimited, StreamSlots } from "./http/limits.ts";
import { allowsOrigin, checkOrigin } from "./http/origin.ts";
import { usualPath } from "./http/paths.ts";
import { Keys } from "./keys/keys.ts";
import { openApiDocument } from "./openai/openapi.ts";
import { LoadedPacks } from "./packs/tenant-packs.ts";
import { CHAT, COMPLETIONS, completionsRoute, IGNORED_HEADER, RESPONSES } from "./routes/completions.ts";
import { listWorkersRoute, registerWorkerRoute, removeWorkerRoute } from "./routes/fleet.ts";
import { readyRoute } from "./routes/health.ts";
import { addKeyRoute, keyUsageRoute, listKeysRoute, revokeKeyRoute, usageRoute } from "./routes/keys.ts";
import { forgetRoute, memoryRoute } from "./routes/memory.ts";
import { metricsRoute } from "./routes/metrics.ts";
import { listModelsRoute, modelRoute } from "./routes/models.ts";
import { listPacksRoute, packRoute, putPackRoute, removePackRoute, removePacksRoute } from "./routes/packs.ts";
import { detokenizeRoute, tokenizeRoute } from "./routes/tokenize.ts";
import type { AppContext, AppDeps, AppEnv, Services } from "./services.ts";
import { Bundles } from "./text/bundles.ts";

/** Of an isolate's 128 MB each takes about three times its size. */
const UPLOADS = { perCaller: 1, total: 2 };

const EXPOSED_HEADERS = [
  "x-request-id",
  "server-timing",
  IGNORED_HEADER,
  "retry-after",
  ...["limit", "remaining", "reset"].flatMap((what) => ["requests", "tokens"].map((of) => `x-ratelimit-${what}-${of}`)),
];

/** The edge's HTTP surface. Needs no particular runtime: tests call `app.request()` in Node. */
export function createApp(deps: AppDeps): Hono<AppEnv> {
  const services: Services = {
    ...deps,
    bundles: new Bundles(deps.config.models, deps.readFile),
    slots: new StreamSlots(deps.config.streams, deps.now),
    keys: deps.keyStore && new Keys(deps.keyStore, deps.date, (error) => deps.logError(null, error)),
    uploads: new StreamSlots(UPLOADS, deps.now, "uploads"),
    loadedPacks: new LoadedPacks(),
    startedAt: Math.floor(deps.date() / 1000),
  };
  const app = new Hono<AppEnv>({ getPath: usualPath });
  app.use(requestId({ limitLength: 128, generator: () => `req_${crypto.randomUUID().replaceAll("-", "")}` }));
  app.use(async (c, next) => {
    checkOrigin(c.req.raw, deps.config);
    await next();
  });
  app.use(corsOf(deps.config));
  app.use(methodNotAllowed<AppEnv>({ app, onMethodNotAllowed: wrongMethod }));
  app.use("/v1/packs/:name", async (c, next) => {
    await next();
    await drain(c.req.raw, LIMITS.tenantPackBytes);
  });
  app.use("/v1/*", async (c, next) => {
    c.set("caller", await authenticate(c.req.raw.headers, deps.config, services.keys));
    await next();
  });

  addRoutes(app, services);
  // Bundle files lie among the assets for this Worker's own use.
  for (const path of ["/v1/*", "/fleet/*", "/admin/*", "/bundles/*"]) {
    app.all(path, nothingAt);
  }
  app.all("*", (c) => assetRoute(c, deps.assets));

  app.onError((error, c) => {
    const fault = asStepError(error);
    if (isFault(fault)) deps.logError(c.get("requestId"), error);
    return errorResponse(fault, error instanceof RateLimited ? error.headers : {});
  });
  return app;
}

function addRoutes(app: Hono<AppEnv>, services: Services): void {
  app.post("/v1/chat/completions", (c) => completionsRoute(c, services, CHAT));
  app.post("/v1/completions", (c) => completionsRoute(c, services, COMPLETIONS));
  app.post("/v1/responses", (c) => completionsRoute(c, services, RESPONSES));
  app.post("/v1/tokenize", (c) => tokenizeRoute(c, services));
  app.post("/v1/detokenize", (c) => detokenizeRoute(c, services));
  app.get("/v1/models", (c) => listModelsRoute(c, services));
  app.get("/v1/models/:id", (c) => modelRoute(c, services));
  for (const path of ["/healthz", "/health"]) app.get(path, (c) => c.json({ status: "ok" }));
  app.get("/readyz", (c) => readyRoute(c, services));
  app.get("/metrics", (c) => metricsRoute(c, services));
  app.get("/openapi.json", (c) => c.json(openApiDocument()));
  app.get("/v1/memory", (c) => memoryRoute(c, services));
  app.delete("/v1/memory", (c) => forgetRoute(c, services));
  app.get("/v1/usage", (c) => usageRoute(c, services));
  app.get("/admin/keys", (c) => listKeysRoute(c, services));
  app.post("/admin/keys", (c) => addKeyRoute(c, services));
  app.delete("/admin/keys/:key", (c) => revokeKeyRoute(c, services));
  app.get("/admin/keys/:key/usage", (c) => keyUsageRoute(c, services));
  app.get("/v1/packs", (c) => listPacksRoute(c, services));
  app.delete("/v1/packs", (c) => removePacksRoute(c, services));
  app.get("/v1/packs/:name", (c) => packRoute(c, services));
  app.put("/v1/packs/:name", (c) => putPackRoute(c, services));
  app.delete("/v1/packs/:name", (c) => removePackRoute(c, services));
  app.get("/fleet/workers", (c) => listWorkersRoute(c, services));
  app.post("/fleet/workers", (c) => registerWorkerRoute(c, services));
  app.delete("/fleet/workers", (c) => removeWorkerRoute(c, services));
  app.all("/v1/embeddings", () => {
    throw new StepError("unsupported", "Embeddings are not served: the model here only writes text.");
  });
  app.all("/v1/responses/input_tokens", () => {
    throw new StepError("unsupported", "Tokens are counted by POST /tokenize, of a chat by its messages.");
  });
  // Answered rather than thrown, as the pattern holds for the path without more, too, which takes POST.
  app.all("/v1/responses/*", () =>
    errorResponse(new StepError("not_found", "Responses are not stored; send the conversation so far as input.")),
  );
}

function corsOf(config: Config) {
  return cors({
    origin: config.corsOrigins.includes("*") ? "*" : (origin) => (allowsOrigin(config, origin) ? origin : null),
    allowMethods: ["GET", "HEAD", "POST", "PUT", "DELETE"],
    exposeHeaders: EXPOSED_HEADERS,
    maxAge: 86_400,
  });
}

/** The demo page and its files; what the assets do not have or do is an error like any other. */
async function assetRoute(c: AppContext, assets: AppDeps["assets"]): Promise<Response> {
  const response = await assets(c.req.raw);
  if (response.status === 404) return nothingAt(c);
  if (response.status === 405) return wrongMethod(c, ["GET", "HEAD"]);
  return response;
}

/** Answered rather than thrown: of a path that takes other methods this becomes 405. */
function nothingAt(c: AppContext): Response {
  return errorResponse(new StepError("not_found", `There is no ${c.req.path}.`));
}

function wrongMethod(c: AppContext, allowed: readonly string[]): Response {
  const allow = allowed.join(", ");
  const error = new StepError("method_not_allowed", `${c.req.path} takes ${allow}, not ${c.req.method}.`);
  return errorResponse(error, { allow });
}
