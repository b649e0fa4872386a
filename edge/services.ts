import type { Context } from "hono";
import type { Place } from "../shared/decode/placement.ts";
import type { BundleInfo, CancelSignal, StepEngine } from "../shared/engine.ts";
import type { Tracing } from "../shared/telemetry/tracing.ts";
import type { Config } from "./config.ts";
import type { Registry } from "./fleet/registry.ts";
import type { Caller } from "./http/auth.ts";
import type { RateLimiter, StreamSlots } from "./http/limits.ts";
import type { WorkerMetrics } from "./http/prometheus.ts";
import type { KeyStore, Keys } from "./keys/keys.ts";
import type { MemoryStore } from "./memory/memory.ts";
import type { PackStore } from "./packs/pack-store.ts";
import type { LoadedPacks } from "./packs/tenant-packs.ts";
import type { Bundles, ReadFile } from "./text/bundles.ts";

/** What the app is made from. */
export interface AppDeps {
  readonly config: Config;
  readonly engine: StepEngine;
  /** Where this code runs: "gpu" beside the model, where nothing is left to be placed; default "edge". */
  readonly here?: Place;
  /** What the engine serves now. Rejects with StepError where it cannot be reached. */
  readonly engineInfo: (signal: CancelSignal) => Promise<BundleInfo>;
  /** Metrics of those that answer. */
  readonly engineMetrics: (signal: CancelSignal) => Promise<readonly WorkerMetrics[]>;
  /** Where gpu-workers register; null where none does. */
  readonly registry: Registry | null;
  /** What is remembered of a tenant, by Caller.memoryName; null where nothing is. */
  readonly memory: ((name: string) => MemoryStore) | null;
  /** Where API keys are stored; null where none are but the configuration's. */
  readonly keyStore: KeyStore | null;
  /** null: nothing is traced. */
  readonly tracing: Tracing | null;
  /** Packs that a tenant uploaded, by Caller.memoryName; null where none can be. */
  readonly packs: ((name: string) => PackStore) | null;
  /** Files of bundles, `<bundle>/<path>`. */
  readonly readFile: ReadFile;
  /** Everything that is no route: the demo page and its files. */
  readonly assets: (request: Request) => Promise<Response>;
  readonly limiter: RateLimiter | null;
  /** Monotonic, ms. */
  readonly now: () => number;
  /** Unix time, ms. */
  readonly date: () => number;
  /** A fault of ours, with the id of its request if it is one's. Nothing of a request's content is logged. */
  readonly logError: (requestId: string | null, error: unknown) => void;
}

/** What its routes are given. */
export interface Services extends AppDeps {
  readonly bundles: Bundles;
  readonly slots: StreamSlots;
  readonly keys: Keys | null;
  /** Files being uploaded, each of which is held whole. */
  readonly uploads: StreamSlots;
  readonly loadedPacks: LoadedPacks;
  /** Unix time the app was made, seconds; the `created` of every model. */
  readonly startedAt: number;
}

export type AppEnv = { Variables: { requestId: string; caller: Caller } };
export type AppContext = Context<AppEnv>;
