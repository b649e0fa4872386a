import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { V4MiniflareOptions } from "miniflare";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { startFront } from "./front.ts";
import { CONFIG, QUIET, ROOT } from "./paths.ts";

/** The edge Worker running under workerd in this process's charge, behind front.ts. */
export interface Edge {
  readonly url: string;
  close(): Promise<void>;
}

export interface EdgeOptions {
  /** From `buildEdge`. */
  readonly workerDir: string;
  /** From `assembleAssets`. */
  readonly assetsDir: string;
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** Added to wrangler.toml's vars; held in memory only, so secrets may be among them. */
  readonly vars: Readonly<Record<string, string>>;
  /** Requests per period (s) in place of wrangler.toml's. */
  readonly rateLimit?: { readonly limit: number; readonly period: 10 | 60 };
}

/** Bundles the Worker into `workerDir` just as `wrangler deploy` would. Throws with wrangler's words. */
export async function buildEdge(workerDir: string, assetsDir: string, signal?: AbortSignal): Promise<void> {
  await mkdir(assetsDir, { recursive: true });
  const wrangler = join(ROOT, "node_modules", "wrangler", "bin", "wrangler.js");
  const args = [wrangler, "deploy", "--dry-run", "--config", CONFIG, "--outdir", workerDir, "--assets", assetsDir];
  const child = spawn(process.execPath, args, {
    cwd: ROOT,
    env: { ...process.env, ...QUIET },
    stdio: ["ignore", "pipe", "pipe"],
    ...(signal === undefined ? {} : { signal }),
  });
  let output = "";
  child.stdout.on("data", (text) => (output += text));
  child.stderr.on("data", (text) => (output += text));
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`wrangler could not build the edge Worker:\n${output}`);
}

/** Starts workerd with wrangler.toml's bindings, and what answers callers. Resolves once it accepts requests. */
export async function startEdge(options: EdgeOptions): Promise<Edge> {
  Object.assign(process.env, QUIET);
  // wrangler takes half a second to load and is needed nowhere else.
  const { unstable_getMiniflareWorkerOptions } = await import("wrangler");
  const { workerOptions } = unstable_getMiniflareWorkerOptions(CONFIG, undefined, {
    overrides: { assets: { directory: resolve(options.assetsDir) } },
  });
  // wrangler and miniflare each carry their own declaration of these options. The build has settled
  // what kind of module each file is.
  const { modulesRules: _settled, ...worker }: Record<string, unknown> = { ...workerOptions };
  const local: Record<string, unknown> = {
    host: "127.0.0.1",
    port: 0,
    cf: false,
    telemetry: { enabled: false },
    ...worker,
    bindings: {
      ...hostVars(options.host),
      ...(worker.bindings as object),
      ...limitVars(options.rateLimit),
      ...options.vars,
      // front.ts sets it, whoever calls.
      TRUST_CONNECTING_IP: "true",
    },
    modules: true,
    modulesRoot: options.workerDir,
    scriptPath: join(options.workerDir, "index.js"),
    ...(options.rateLimit === undefined
      ? {}
      : { ratelimits: { LIMIT: { namespace_id: "local", simple: options.rateLimit } } }),
  };
  const miniflare = withoutSignalHandlers(
    () => new Miniflare(convertV4MiniflareOptions(local as unknown as V4MiniflareOptions)),
  );
  const dispose = () => miniflare.dispose();
  try {
    const front = await startFront({ host: options.host, port: options.port, target: await miniflare.ready });
    return { url: front.url.origin, close: () => front.close().finally(dispose) };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Where only this machine can connect, no page may by giving a name of its own this machine's address. */
function hostVars(host: string): Record<string, string> {
  const isLoopback = host === "localhost" || host === "::1" || host.startsWith("127.");
  return isLoopback ? { ALLOWED_HOSTS: "localhost" } : {};
}

/** The edge tells callers its limit, which the binding itself does not say. */
function limitVars(rateLimit: EdgeOptions["rateLimit"]): Record<string, string> {
  if (rateLimit === undefined) return {};
  return { RATE_LIMIT_REQUESTS: String(rateLimit.limit), RATE_LIMIT_PERIOD_S: String(rateLimit.period) };
}

/** miniflare would end the process at once on a signal, before the gpu-worker is stopped in order. */
function withoutSignalHandlers<T>(create: () => T): T {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const before = signals.map((signal) => process.listeners(signal));
  const created = create();
  signals.forEach((signal, i) => {
    for (const listener of process.listeners(signal)) {
      if (!before[i]!.includes(listener)) process.off(signal, listener);
    }
  });
  return created;
}
