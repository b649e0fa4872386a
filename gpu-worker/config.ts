import { join } from "node:path";
import * as z from "zod";
import type { TracingConfig } from "../shared/telemetry/tracing.ts";
import { PROVIDERS, type Provider } from "./onnx/session.ts";

const KEY_LENGTH = 16;

const integer = (low: number, high: number) => z.coerce.number().int().min(low).max(high);

const webAddress = z
  .url({ protocol: /^https?$/, error: "must be an http or https URL" })
  .transform((url) => url.replace(/\/$/, ""));

/** Environment variables; an empty one counts as absent. */
export const variables = z.object({
  GPU_WORKER_KEY: z
    .string({ error: "is required: the key that the edge presents" })
    .min(KEY_LENGTH, `must have at least ${KEY_LENGTH} characters`),
  GPU_WORKER_HOST: z.string().default("127.0.0.1"),
  GPU_WORKER_PORT: integer(0, 65_535).default(8788),
  GPU_WORKER_PROVIDER: z.enum(PROVIDERS).default("cpu"),
  GPU_WORKER_THREADS: integer(1, 256).optional(),
  GPU_WORKER_SESSIONS: integer(1, 4096).default(64),
  GPU_WORKER_MAX_WAIT_S: integer(1, 3600).default(60),
  GPU_WORKER_KV_MIB: integer(16, 1 << 20).default(2048),
  GPU_WORKER_REGISTRY_URL: webAddress.optional(),
  GPU_WORKER_PUBLIC_URL: webAddress.optional(),
  OTEL_EXPORTER_OTLP_ENDPOINT: webAddress.optional(),
  OTEL_EXPORTER_OTLP_HEADERS: z.string().default(""),
  OTEL_TRACES_SAMPLER_ARG: z.coerce.number().min(0).max(1).default(1),
  FOREDRAFT_BUNDLE: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "must be a bundle's name")
    .default("smollm2-135m"),
  FOREDRAFT_BUNDLE_DIR: z.string().optional(),
  FOREDRAFT_CACHE: z.string().default(join(import.meta.dirname, "..", ".cache")),
});

const environment = variables.superRefine(({ GPU_WORKER_REGISTRY_URL, GPU_WORKER_PUBLIC_URL }, { addIssue }) => {
  if (GPU_WORKER_REGISTRY_URL === undefined || GPU_WORKER_PUBLIC_URL !== undefined) return;
  const message = "is required with GPU_WORKER_REGISTRY_URL: where the edge reaches this gpu-worker";
  addIssue({ code: "custom", path: ["GPU_WORKER_PUBLIC_URL"], message });
});

/** Where bundles and compiled code are kept unless the environment says otherwise. */
export function defaultCacheDir(): string {
  return variables.shape.FOREDRAFT_CACHE.parse(process.env.FOREDRAFT_CACHE || undefined);
}

export interface Config {
  readonly key: string;
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly provider: Provider;
  /** undefined: as many as the machine runs at once. */
  readonly threads: number | undefined;
  readonly maxSessions: number;
  /** Longest wait of a session for its first pass, ms. */
  readonly maxWaitMs: number;
  readonly kvLimitBytes: number;
  /** Where to register, and as what; null: the edge knows this gpu-worker by its configuration. */
  readonly registry: { readonly registryUrl: string; readonly publicUrl: string } | null;
  /** Where traces go; null: there are none. */
  readonly tracing: TracingConfig | null;
  readonly cacheDir: string;
  readonly bundle: string;
  readonly bundleDir: string;
}

/** Throws Error with one line per variable at fault; values, of which one is secret, are not repeated. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ""));
  const parsed = environment.safeParse(given);
  if (!parsed.success) {
    throw new Error(parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("\n"));
  }
  const { data } = parsed;
  return {
    key: data.GPU_WORKER_KEY,
    host: data.GPU_WORKER_HOST,
    port: data.GPU_WORKER_PORT,
    provider: data.GPU_WORKER_PROVIDER,
    threads: data.GPU_WORKER_THREADS,
    maxSessions: data.GPU_WORKER_SESSIONS,
    maxWaitMs: data.GPU_WORKER_MAX_WAIT_S * 1000,
    kvLimitBytes: data.GPU_WORKER_KV_MIB * 2 ** 20,
    registry:
      data.GPU_WORKER_REGISTRY_URL === undefined
        ? null
        : { registryUrl: data.GPU_WORKER_REGISTRY_URL, publicUrl: data.GPU_WORKER_PUBLIC_URL! },
    tracing: tracingOf(data),
    cacheDir: data.FOREDRAFT_CACHE,
    bundle: data.FOREDRAFT_BUNDLE,
    bundleDir: data.FOREDRAFT_BUNDLE_DIR ?? join(data.FOREDRAFT_CACHE, "bundles", data.FOREDRAFT_BUNDLE),
  };
}

function tracingOf(data: z.infer<typeof variables>): TracingConfig | null {
  const endpoint = data.OTEL_EXPORTER_OTLP_ENDPOINT;
  if (endpoint === undefined) return null;
  return { endpoint, headers: data.OTEL_EXPORTER_OTLP_HEADERS, ratio: data.OTEL_TRACES_SAMPLER_ARG };
}
