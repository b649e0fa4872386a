import type { Hono } from "hono";
import type { CancelSignal } from "../shared/engine.ts";
import { StepError } from "../shared/errors.ts";
import { type AppEnv, createApp } from "./app.ts";
import { type Config, readConfig } from "./config.ts";
import { firstAnswer, PooledEngine, sleep, type WorkerList } from "./fleet/pooled-engine.ts";
import { createGpuClient } from "./gpu-client.ts";
import { connectByFetch, fetchEngineInfo, fetchMetrics } from "./gpu-workerd.ts";
import { errorResponse } from "./http/errors.ts";
import type { RateLimiter } from "./http/limits.ts";

/** Bindings of wrangler.toml; the variables are checked by config.ts. */
interface Env {
  readonly ASSETS: Fetcher;
  readonly LIMIT?: RateLimiter;
}

/** One app per isolate, so that tokenizers and packs are loaded once. */
let kept: { readonly env: Env; readonly app: Hono<AppEnv> } | null = null;

function appOf(env: Env): Hono<AppEnv> {
  if (kept?.env === env) return kept.app;
  const config = readConfig(env);
  const app = createApp({
    config,
    ...fleetOf(config),
    readFile: async (path) => {
      const response = await env.ASSETS.fetch(`http://assets/bundles/${path}`);
      return response.ok ? new Uint8Array(await response.arrayBuffer()) : null;
    },
    assets: (request) => env.ASSETS.fetch(request),
    limiter: env.LIMIT ?? null,
    now: () => performance.now(),
    date: () => Date.now(),
    logError: (requestId, error) =>
      console.error(JSON.stringify({ requestId, error: error instanceof Error ? error.stack : String(error) })),
  });
  kept = { env, app };
  return app;
}

/** All gpu-workers as one engine. */
function fleetOf({ gpuWorkerUrls, gpuWorkerKey }: Config) {
  const now = () => performance.now();
  const workers: WorkerList = async () => gpuWorkerUrls;
  return {
    engine: new PooledEngine({
      workers,
      engineAt: (url) => createGpuClient(connectByFetch(url, gpuWorkerKey)),
      now,
      random: Math.random,
      sleep,
    }),
    engineInfo: (signal: CancelSignal) =>
      firstAnswer(workers, (url) => fetchEngineInfo(url, gpuWorkerKey, signal), signal),
    engineMetrics: async (signal: CancelSignal) => {
      const told = (await workers(signal)).map(async (url) => ({
        worker: new URL(url).host,
        text: await fetchMetrics(url, gpuWorkerKey),
      }));
      // Those that do not answer are missing, which the scraper's rules can tell.
      const answers = await Promise.allSettled(told);
      return answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
    },
  };
}

export default {
  async fetch(request, env, context) {
    let app: Hono<AppEnv>;
    try {
      app = appOf(env);
    } catch (error) {
      // Names the variables at fault, for whoever deployed this; callers are only told that it is not theirs.
      console.error(error instanceof Error ? error.message : error);
      return errorResponse(new StepError("internal", "The server is not configured."));
    }
    return await app.fetch(request, env, context);
  },
} satisfies ExportedHandler<Env>;
