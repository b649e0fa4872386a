import { type Context, Hono } from "hono";
import { cors } from "hono/cors";
import { requestId } from "hono/request-id";
import type { BundleInfo, CancelSignal, StepEngine } from "../shared/engine.ts";
import { StepError } from "../shared/errors.ts";
import type { Config } from "./config.ts";
import { authenticate, type Caller } from "./http/auth.ts";
import { asStepError, errorResponse, isFault } from "./http/errors.ts";
import { RateLimited, type RateLimiter, StreamSlots } from "./http/limits.ts";
import { allowsOrigin, checkOrigin } from "./http/origin.ts";
import { openApiDocument } from "./openai/openapi.ts";
import { parseChat, parseCompletion } from "./openai/params.ts";
import { completionsRoute, IGNORED_HEADER } from "./routes/completions.ts";
import { readyRoute } from "./routes/health.ts";
import { listModelsRoute, modelRoute } from "./routes/models.ts";
import { Bundles, type ReadFile } from "./text/bundles.ts";

export interface AppDeps {
  readonly config: Config;
  readonly engine: StepEngine;
  /** What the engine serves now. Rejects with StepError where it cannot be reached. */
  readonly engineInfo: (signal: CancelSignal) => Promise<BundleInfo>;
  /** Files of bundles, `<bundle>/<path>`. */
  readonly readFile: ReadFile;
  /** Everything that is no route: the demo page and its files. */
  readonly assets: (request: Request) => Promise<Response>;
  readonly limiter: RateLimiter | null;
  /** Monotonic, ms. */
  readonly now: () => number;
  /** Unix time, ms. */
  readonly date: () => number;
  /** A fault of ours, with the id of its request. Nothing of a request's content is logged. */
  readonly logError: (requestId: string, error: unknown) => void;
}

export interface Services extends AppDeps {
  readonly bundles: Bundles;
  readonly slots: StreamSlots;
  /** Unix time the app was made, seconds; the `created` of every model. */
  readonly startedAt: number;
}

export type AppEnv = { Variables: { requestId: string; caller: Caller } };
export type AppContext = Context<AppEnv>;

const EXPOSED_HEADERS = [
  "x-request-id",
  "server-timing",
  IGNORED_HEADER,
  "retry-after",
  "x-ratelimit-limit-requests",
  "x-ratelimit-remaining-requests",
  "x-ratelimit-reset-requests",
];

/** The edge's HTTP surface. Needs no particular runtime: tests call `app.request()` in Node. */
export function createApp(deps: AppDeps): Hono<AppEnv> {
  const services: Services = {
    ...deps,
    bundles: new Bundles(deps.config.models, deps.readFile),
    slots: new StreamSlots(deps.config.streams, deps.now),
    startedAt: Math.floor(deps.date() / 1000),
  };
  const app = new Hono<AppEnv>();
  app.use(requestId({ limitLength: 128, generator: () => `req_${crypto.randomUUID().replaceAll("-", "")}` }));
  app.use(async (c, next) => {
    checkOrigin(c.req.raw, deps.config);
    await next();
  });
  app.use(corsOf(deps.config));
  app.use("/v1/*", async (c, next) => {
    c.set("caller", await authenticate(c.req.raw.headers, deps.config));
    await next();
  });

  app.post("/v1/chat/completions", (c) => completionsRoute(c, services, parseChat));
  app.post("/v1/completions", (c) => completionsRoute(c, services, parseCompletion));
  app.get("/v1/models", (c) => listModelsRoute(c, services));
  app.get("/v1/models/:id", (c) => modelRoute(c, services));
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.get("/readyz", (c) => readyRoute(c, services));
  app.get("/openapi.json", (c) => c.json(openApiDocument()));
  allowOnly(app, "POST", ["/v1/chat/completions", "/v1/completions"]);
  allowOnly(app, "GET", ["/v1/models", "/v1/models/:id", "/healthz", "/readyz", "/openapi.json"]);
  // Bundle files lie among the assets for this Worker's own use.
  for (const path of ["/v1/*", "/bundles/*"]) {
    app.all(path, (c) => errorResponse(new StepError("not_found", `There is no ${c.req.path}.`)));
  }
  app.all("*", (c) => assetRoute(c, deps.assets));

  app.onError((error, c) => {
    const fault = asStepError(error);
    if (isFault(fault)) deps.logError(c.get("requestId"), error);
    return errorResponse(fault, error instanceof RateLimited ? error.headers : {});
  });
  return app;
}

function corsOf(config: Config) {
  return cors({
    origin: config.corsOrigins.includes("*") ? "*" : (origin) => (allowsOrigin(config, origin) ? origin : null),
    allowMethods: ["GET", "HEAD", "POST"],
    exposeHeaders: EXPOSED_HEADERS,
    maxAge: 86_400,
  });
}

/** The demo page and its files; what the assets do not have or do is an error like any other. */
async function assetRoute(c: AppContext, assets: AppDeps["assets"]): Promise<Response> {
  const response = await assets(c.req.raw);
  if (response.status === 404) throw new StepError("not_found", `There is no ${c.req.path}.`);
  if (response.status === 405) return wrongMethod(c, "GET");
  return response;
}

/** Other methods of a known path: 405 with the right one. */
function allowOnly(app: Hono<AppEnv>, method: string, paths: readonly string[]): void {
  for (const path of paths) {
    app.all(path, (c) => wrongMethod(c, method));
  }
}

function wrongMethod(c: AppContext, allow: string): Response {
  return errorResponse(new StepError("method_not_allowed", `${c.req.path} takes ${allow}, not ${c.req.method}.`), {
    allow,
  });
}
