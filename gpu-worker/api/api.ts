import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createApp } from "../../edge/app.ts";
import { readConfig } from "../../edge/config.ts";
import type { StepEngine } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import type { Tracing } from "../../shared/telemetry/tracing.ts";
import type { Metrics } from "../serve/metrics.ts";
import type { Drafts, Served } from "../serve/served.ts";
import { ServedSession } from "../serve/served-session.ts";

export interface ApiOptions {
  readonly engine: Served;
  readonly drafting: Drafts;
  readonly metrics: Metrics;
  readonly bundleDir: string;
  /** Completions at once. */
  readonly maxStreams: number;
  readonly log: (line: string) => void;
  /** null: nothing is traced. */
  readonly tracing: Tracing | null;
}

/** Answers a request of OpenAI's API whose caller has shown the key. */
export type Api = (request: Request) => Promise<Response>;

/**
 * OpenAI's routes beside the model, for whoever routes to gpu-workers directly: the edge's own code, with the bundle's
 * files and the engine at hand, so all is drafted here.
 */
export function createApi({ engine, drafting, metrics, bundleDir, maxStreams, log, tracing }: ApiOptions): Api {
  const { model } = engine.bundle;
  const app = createApp({
    // Whoever comes here has shown the key; no browser has business here.
    config: readConfig({
      GPU_WORKER_KEY: "not called",
      DEFAULT_MODEL: model,
      ANONYMOUS: "true",
      MAX_STREAMS: String(maxStreams),
      MAX_STREAMS_TOTAL: String(maxStreams),
    }),
    here: "gpu",
    engine: counted({ engine, drafting }, metrics),
    engineInfo: async () => engine.bundle,
    // This gpu-worker tells them itself, on the path above these routes.
    engineMetrics: async () => [],
    readFile: async (path) => {
      const bytes = await readFile(join(bundleDir, path.slice(model.length + 1))).catch(() => null);
      return bytes && new Uint8Array(bytes);
    },
    assets: async () => new Response(null, { status: 404 }),
    limiter: null,
    registry: null,
    memory: null,
    keyStore: null,
    tracing,
    packs: null,
    now: () => performance.now(),
    date: () => Date.now(),
    logError: (id, error) => log(`${id}: ${error instanceof Error ? error.stack : String(error)}`),
  });
  return async (request) => await app.fetch(request);
}

/** Sessions are counted as those of sockets are. */
function counted(served: { readonly engine: StepEngine; readonly drafting: Drafts }, metrics: Metrics): StepEngine {
  return {
    async open(spec, signal) {
      metrics.sessionStarted();
      try {
        const session = await ServedSession.open(served, spec, metrics, signal);
        let open = true;
        return {
          bundle: session.bundle,
          cachedTokens: session.cachedTokens,
          opened: session.opened,
          step: (...args) => session.step(...args).catch((error: unknown) => failed(metrics, error)),
          close() {
            if (open) metrics.sessionEnded();
            open = false;
            session.close();
          },
        };
      } catch (error) {
        metrics.sessionEnded();
        return failed(metrics, error);
      }
    },
  };
}

/** A client that leaves is no failure. */
function failed(metrics: Metrics, error: unknown): never {
  const code = error instanceof StepError ? error.code : "internal";
  if (code !== "client_closed") metrics.failed(code);
  throw error;
}
