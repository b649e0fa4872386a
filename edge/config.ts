import * as z from "zod";
import type { TracingConfig } from "../shared/telemetry/tracing.ts";
import { type FixedWorker, fixedWorker } from "./fleet/registry.ts";

const hashes = z
  .string()
  .default("")
  .transform(list)
  .pipe(z.array(z.string().regex(/^[0-9a-f]{64}$/, "must be lower-case SHA-256 hex")));

/** Variables and secrets of the Worker, as strings; see wrangler.toml. */
const environment = z.object({
  GPU_WORKER_URL: z.string().default("").transform(list).pipe(z.array(fixedWorker)),
  GPU_WORKER_KEY: z.string().min(1),
  API_KEYS: hashes,
  ADMIN_KEYS: hashes,
  ANONYMOUS: z.stringbool().default(false),
  METRICS_KEYS: hashes,
  TRUST_CONNECTING_IP: z.stringbool().default(false),
  CORS_ORIGINS: z.string().optional(),
  ALLOWED_HOSTS: z.string().default("").transform(list),
  DEFAULT_MODEL: z
    .string()
    .transform(list)
    .pipe(z.array(z.string().regex(/^[A-Za-z0-9._-]+$/)).min(1)),
  RATE_LIMIT_REQUESTS: z.coerce.number().int().positive().default(120),
  RATE_LIMIT_PERIOD_S: z.coerce.number().int().positive().default(60),
  RESUME_MAX_S: z.coerce.number().nonnegative().default(20),
  FLEET_LEASE_S: z.coerce.number().int().positive().max(86_400).default(15),
  MEMORY_EXPIRY_S: z.coerce
    .number()
    .int()
    .positive()
    .max(366 * 86_400)
    .default(7 * 86_400),
  OTEL_EXPORTER_OTLP_ENDPOINT: z.url({ protocol: /^https?$/ }).optional(),
  OTEL_EXPORTER_OTLP_HEADERS: z.string().default(""),
  OTEL_TRACES_SAMPLER_ARG: z.coerce.number().min(0).max(1).default(1),
  MAX_STREAMS: z.coerce.number().int().positive().default(8),
  MAX_STREAMS_TOTAL: z.coerce.number().int().positive().default(32),
});

/** Completions running at once, per isolate. */
export interface StreamLimits {
  readonly perCaller: number;
  readonly total: number;
}

export interface Config {
  /** Gpu-workers that are always there, beside those that register. */
  readonly gpuWorkers: readonly FixedWorker[];
  readonly gpuWorkerKey: string;
  /** How long a stream whose gpu-worker was lost looks for another one, ms. */
  readonly resumeMs: number;
  /** How long a gpu-worker is taken to be there after it registered, ms. */
  readonly leaseMs: number;
  /** SHA-256 of API keys that are accepted beside those stored (keys/), hex. */
  readonly apiKeyHashes: readonly string[];
  /** SHA-256 of the keys that open /admin, hex. */
  readonly adminKeyHashes: readonly string[];
  /** Whether anybody may call, under the rate limit. */
  readonly anonymous: boolean;
  /** SHA-256 of the keys that open /metrics, hex; empty: the API keys do. */
  readonly metricsKeyHashes: readonly string[];
  /** Whether `cf-connecting-ip` is set by the network before the Worker, so that callers cannot choose it. */
  readonly trustConnectingIp: boolean;
  /** Origins, beside the server's own, whose pages may call; "*" is any. */
  readonly corsOrigins: readonly string[];
  /** Names the server answers to beside addresses and localhost; null for every name. */
  readonly allowedHosts: readonly string[] | null;
  /** Bundles served; the first is the default. */
  readonly models: readonly string[];
  /** What the rate limit binding enforces, to be told to callers; the binding itself does not say. */
  readonly rateLimit: { readonly requests: number; readonly periodS: number };
  readonly streams: StreamLimits;
  /** Where traces go; null: there are none. */
  readonly tracing: TracingConfig | null;
  /** How long a text of a tenant's memory is kept. */
  readonly memoryMs: number;
}

/** Throws Error naming the variables at fault, never their values. */
export function readConfig(env: unknown): Config {
  const parsed = environment.safeParse(env);
  if (!parsed.success) {
    const names = [...new Set(parsed.error.issues.map((issue) => String(issue.path[0])))];
    throw new Error(`configuration: missing or malformed ${names.join(", ")}`);
  }
  const { data } = parsed;
  return {
    gpuWorkers: data.GPU_WORKER_URL,
    gpuWorkerKey: data.GPU_WORKER_KEY,
    resumeMs: data.RESUME_MAX_S * 1000,
    leaseMs: data.FLEET_LEASE_S * 1000,
    apiKeyHashes: data.API_KEYS,
    adminKeyHashes: data.ADMIN_KEYS,
    anonymous: data.ANONYMOUS,
    metricsKeyHashes: data.METRICS_KEYS,
    trustConnectingIp: data.TRUST_CONNECTING_IP,
    // Without keys nothing but the origin keeps any page a reader opens from calling.
    corsOrigins: list(data.CORS_ORIGINS ?? (data.ANONYMOUS ? "" : "*")),
    allowedHosts: data.ALLOWED_HOSTS.length > 0 ? data.ALLOWED_HOSTS : null,
    models: data.DEFAULT_MODEL,
    rateLimit: { requests: data.RATE_LIMIT_REQUESTS, periodS: data.RATE_LIMIT_PERIOD_S },
    memoryMs: data.MEMORY_EXPIRY_S * 1000,
    tracing: tracingOf(data),
    streams: { perCaller: data.MAX_STREAMS, total: data.MAX_STREAMS_TOTAL },
  };
}

function tracingOf(data: z.infer<typeof environment>): TracingConfig | null {
  const endpoint = data.OTEL_EXPORTER_OTLP_ENDPOINT;
  if (endpoint === undefined) return null;
  return { endpoint, headers: data.OTEL_EXPORTER_OTLP_HEADERS, ratio: data.OTEL_TRACES_SAMPLER_ARG };
}

function list(text: string): string[] {
  return text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}
