import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assembleAssets } from "./assets.ts";
import { buildEdge, type Edge, type EdgeOptions, startEdge } from "./edge.ts";
import { type GpuWorker, startGpuWorker } from "./gpu-worker.ts";
import { freePort, waitUntilReady } from "./net.ts";
import { ASSETS } from "./paths.ts";

export interface StackOptions {
  readonly bundle: string;
  /** The compiled bundle, from `ensureBundle`. */
  readonly bundleDir: string;
  readonly host?: string;
  /** 0, the default, takes any free port. */
  readonly port?: number;
  readonly gpuPort?: number;
  readonly gpuKey?: string;
  readonly provider?: string | undefined;
  readonly threads?: number | undefined;
  readonly assetsDir?: string;
  readonly rateLimit?: EdgeOptions["rateLimit"];
  /** Added to the Worker's variables. */
  readonly vars?: EdgeOptions["vars"];
  readonly log?: (line: string) => void;
  /** Gives up starting. Without it SIGINT and SIGTERM close the stack and end the process. */
  readonly signal?: AbortSignal;
}

/** A gpu-worker and an edge before it, both ready. */
export interface Stack {
  readonly edge: Edge;
  readonly gpuWorker: GpuWorker;
  readonly gpuKey: string;
  /** Stops the edge, then the gpu-worker; safe to call twice. */
  close(): Promise<void>;
}

/** Starts the whole service on this machine. Nothing is left running or lying about when it rejects. */
export async function startStack(options: StackOptions): Promise<Stack> {
  const host = options.host ?? "127.0.0.1";
  const log = options.log ?? (() => undefined);
  const signal = options.signal ?? stopSignal(() => close());
  const gpuKey = options.gpuKey ?? randomBytes(24).toString("base64url");
  const port = await freePort(host, options.port ?? 0, "--port");
  const gpuPort = await freePort("127.0.0.1", options.gpuPort ?? 0, "--gpu-port");
  const assetsDir = options.assetsDir ?? ASSETS;
  const workerDir = await mkdtemp(join(tmpdir(), "foredraft-edge-"));
  const closers: (() => Promise<unknown>)[] = [() => rm(workerDir, { recursive: true, force: true })];
  let closing: Promise<void> | null = null;
  const close = () => (closing ??= closeAll(closers));
  try {
    const starting = startGpuWorker({
      host: "127.0.0.1",
      port: gpuPort,
      key: gpuKey,
      bundle: options.bundle,
      provider: options.provider,
      threads: options.threads,
      log,
      signal,
    });
    // Kept for `close` before anything else can fail, else the process would stay.
    closers.push(() => starting.then((worker) => worker.close()).catch(() => undefined));
    const built = assembleAssets(assetsDir, new Map([[options.bundle, options.bundleDir]])).then(() =>
      buildEdge(workerDir, assetsDir, signal),
    );
    const [gpuWorker] = await Promise.all([starting, built]);
    const own = { GPU_WORKER_URL: gpuWorker.url, GPU_WORKER_KEY: gpuKey, DEFAULT_MODEL: options.bundle };
    const vars = { ...options.vars, ...own };
    const limit = options.rateLimit === undefined ? {} : { rateLimit: options.rateLimit };
    const edge = await startEdge({ workerDir, assetsDir, host, port, vars, ...limit });
    closers.push(() => edge.close());
    await waitUntilReady(`${edge.url}/readyz`, 30_000, signal);
    return { edge, gpuWorker, gpuKey, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Last started, first closed; one failure does not keep the others open. */
async function closeAll(closers: readonly (() => Promise<unknown>)[]): Promise<void> {
  for (const closer of closers.toReversed()) await closer().catch((error) => console.error(error));
}

function stopSignal(close: () => Promise<void>): AbortSignal {
  const stopping = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    // Not once: a library of wrangler's ends the process at once where it finds itself the last listener.
    process.on(signal, async () => {
      stopping.abort();
      await close();
      process.exit(signal === "SIGINT" ? 130 : 143);
    });
  }
  return stopping.signal;
}
