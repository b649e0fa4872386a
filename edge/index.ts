import type { Hono } from "hono";
import type { CancelSignal, StepEngine } from "../shared/engine.ts";
import { StepError } from "../shared/errors.ts";
import { type Post, Tracing } from "../shared/telemetry/tracing.ts";
import { createApp } from "./app.ts";
import { type Config, readConfig } from "./config.ts";
import { createGpuClient } from "./engine/gpu-client.ts";
import { connectByFetch, fetchEngineInfo, fetchMetrics } from "./engine/gpu-fetch.ts";
import { firstAnswer, PooledEngine, sleep } from "./fleet/pooled-engine.ts";
import { FleetList, type Registry } from "./fleet/registry.ts";
import type { FleetRegistry } from "./fleet/registry-object.ts";
import { errorResponse } from "./http/errors.ts";
import type { RateLimiter } from "./http/limits.ts";
import type { KeyAccount } from "./keys/account-object.ts";
import type { KeyDirectory } from "./keys/directory-object.ts";
import type { KeyStore } from "./keys/keys.ts";
import type { MemoryStore } from "./memory/memory.ts";
import type { TenantMemory } from "./memory/memory-object.ts";
import type { PackStore } from "./packs/pack-store.ts";
import { R2Packs } from "./packs/r2-packs.ts";
import type { AppEnv } from "./services.ts";

export { FleetRegistry } from "./fleet/registry-object.ts";
export { KeyAccount } from "./keys/account-object.ts";
export { KeyDirectory } from "./keys/directory-object.ts";
export { TenantMemory } from "./memory/memory-object.ts";

/** Bindings of wrangler.toml; the variables are checked by config.ts. */
interface Env {
  readonly ASSETS: Fetcher;
  readonly LIMIT?: RateLimiter;
  readonly FLEET?: DurableObjectNamespace<FleetRegistry>;
  readonly MEMORY?: DurableObjectNamespace<TenantMemory>;
  readonly KEYS?: DurableObjectNamespace<KeyAccount>;
  readonly KEY_DIRECTORY?: DurableObjectNamespace<KeyDirectory>;
  readonly PACKS?: R2Bucket;
}

/** Traces that are not taken by then are given up, ms. */
const EXPORT_DEADLINE_MS = 5_000;

/** One app per isolate, so that tokenizers and packs are loaded once. */
let kept: { readonly env: Env; readonly app: Hono<AppEnv> } | null = null;

function appOf(env: Env): Hono<AppEnv> {
  if (kept?.env === env) return kept.app;
  const config = readConfig(env);
  const registry = registryOf(env, config);
  const app = createApp({
    config,
    ...fleetOf(config, registry),
    registry,
    memory: memoryOf(env, config),
    keyStore: keyStoreOf(env),
    tracing: tracingOf(config),
    packs: packsOf(env),
    readFile: async (path) => {
      const response = await env.ASSETS.fetch(`http://assets/bundles/${path}`);
      return response.ok ? new Uint8Array(await response.arrayBuffer()) : null;
    },
    assets: (request) => env.ASSETS.fetch(request),
    limiter: env.LIMIT ?? null,
    now: () => performance.now(),
    date: () => Date.now(),
    logError,
  });
  kept = { env, app };
  return app;
}

function logError(requestId: string | null, error: unknown): void {
  console.error(JSON.stringify({ requestId, error: error instanceof Error ? error.stack : String(error) }));
}

function tracingOf({ tracing }: Config): Tracing | null {
  if (tracing === null) return null;
  const post: Post = (url, init) => fetch(url, { ...init, signal: AbortSignal.timeout(EXPORT_DEADLINE_MS) });
  return new Tracing({ ...tracing, service: "foredraft-edge", post, logError: (error) => logError(null, error) });
}

function registryOf({ FLEET }: Env, { leaseMs }: Config): Registry | null {
  if (FLEET === undefined) return null;
  // A stub belongs to the request that made it.
  const stub = () => FLEET.get(FLEET.idFromName("fleet"));
  return {
    register: async (worker) => await stub().register(worker, leaseMs),
    remove: async (url) => await stub().remove(url),
    list: async () => await stub().list(),
  };
}

function memoryOf({ MEMORY }: Env, { memoryMs }: Config): ((name: string) => MemoryStore) | null {
  if (MEMORY === undefined) return null;
  return (name) => {
    const stub = MEMORY.get(MEMORY.idFromName(name));
    return {
      recall: async (tokenizer) => await stub.recall(tokenizer),
      remember: async (epoch, tokenizer, text) => await stub.remember(epoch, tokenizer, text, memoryMs),
      size: async () => await stub.size(),
      forget: async () => await stub.forget(),
    };
  };
}

function keyStoreOf({ KEYS, KEY_DIRECTORY }: Env): KeyStore | null {
  if (KEYS === undefined || KEY_DIRECTORY === undefined) return null;
  return {
    account(hash) {
      const stub = KEYS.get(KEYS.idFromName(hash));
      return {
        open: async (record) => await stub.open(record),
        revoke: async (at) => await stub.revoke(at),
        record: async () => await stub.record(),
        admit: async (asked) => await stub.admit(asked),
        renew: async (lease) => await stub.renew(lease),
        settle: async (lease, used) => await stub.settle(lease, used),
        usage: async () => await stub.usage(),
      };
    },
    directory() {
      const stub = KEY_DIRECTORY.get(KEY_DIRECTORY.idFromName("keys"));
      return {
        add: async (hash, record) => await stub.add(hash, record),
        remove: async (id) => await stub.remove(id),
        revoke: async (id, at) => await stub.revoke(id, at),
        find: async (nameOrId) => await stub.find(nameOrId),
        list: async () => await stub.list(),
      };
    },
  };
}

function packsOf({ PACKS }: Env): ((name: string) => PackStore) | null {
  return PACKS === undefined ? null : (name) => new R2Packs(PACKS, name);
}

/** The gpu-workers of each model as one engine. */
function fleetOf({ gpuWorkers, gpuWorkerKey, resumeMs, models }: Config, registry: Registry | null) {
  const now = () => performance.now();
  const fleet = new FleetList({ fixed: gpuWorkers, registry, now, logError: (error) => logError(null, error) });
  const poolOf = (model: string) =>
    new PooledEngine({
      workers: () => fleet.urls(model),
      engineAt: (url) => createGpuClient(connectByFetch(url, gpuWorkerKey)),
      now,
      random: Math.random,
      sleep,
      resumeMs,
    });
  const pools = new Map(models.map((model) => [model, poolOf(model)]));
  const engine: StepEngine = {
    async open(spec, signal, ahead) {
      const pool = pools.get(spec.model);
      if (pool === undefined) throw new StepError("model_not_found", `The model '${spec.model}' does not exist.`);
      return await pool.open(spec, signal, ahead);
    },
  };
  return {
    engine,
    engineInfo: (signal: CancelSignal) =>
      firstAnswer(
        () => fleet.urls(null),
        (url) => fetchEngineInfo(url, gpuWorkerKey, signal),
        signal,
      ),
    engineMetrics: async () => {
      const told = (await fleet.urls(null)).map(async (url) => ({
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
