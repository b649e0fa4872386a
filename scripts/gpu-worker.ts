import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { stopChild } from "./child.ts";
import { waitUntilReady } from "./net.ts";
import { ROOT } from "./paths.ts";

export interface GpuWorkerOptions {
  readonly host: string;
  readonly port: number;
  readonly key: string;
  readonly bundle: string;
  /** Where it is compiled; in the cache, under its name, where undefined. */
  readonly bundleDir?: string | undefined;
  /** "cpu", "webgpu" or "cuda"; the gpu-worker's own default where undefined. */
  readonly provider?: string | undefined;
  readonly threads?: number | undefined;
  /** In place of gpu-worker/main.ts; tests start a fake engine behind the same server. */
  readonly program?: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Keeps the process's own words to itself, but for errors. */
  readonly quiet?: boolean;
  /** Said once per event: a death, a restart. */
  readonly log: (line: string) => void;
  /** Gives up starting; after that `close` is the way to stop. */
  readonly signal?: AbortSignal;
}

/** A gpu-worker process that is started again when it dies. */
export interface GpuWorker {
  readonly url: string;
  readonly pid: number | undefined;
  close(): Promise<void>;
}

const READY_MS = 120_000;
const BACKOFF_MS = [500, 1_000, 2_000, 5_000, 10_000, 30_000];
/** Up for this long, a process has proved itself and the backoff starts over. */
const STEADY_MS = 60_000;

/** Resolves once the gpu-worker answers /readyz; rejects when its first start fails. */
export async function startGpuWorker(options: GpuWorkerOptions): Promise<GpuWorker> {
  const url = `http://${options.host}:${options.port}`;
  const stopping = new AbortController();
  let child = launch(options);
  const first = child;
  const died = once(first, "exit").then(([code, signal]) => {
    throw new Error(`the gpu-worker ended while starting (${signal ?? `code ${code}`}); its own words are above`);
  });
  try {
    const signals = [stopping.signal, ...(options.signal === undefined ? [] : [options.signal])];
    await Promise.race([waitUntilReady(`${url}/readyz`, READY_MS, AbortSignal.any(signals)), died]);
  } catch (error) {
    stopping.abort();
    await stopChild(first);
    throw error;
  } finally {
    died.catch(() => undefined);
  }

  const supervise = async () => {
    for (let failures = 0; ; failures++) {
      const startedAt = performance.now();
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      if (stopping.signal.aborted) return;
      if (performance.now() - startedAt > STEADY_MS) failures = 0;
      const waitMs = BACKOFF_MS[Math.min(failures, BACKOFF_MS.length - 1)]!;
      options.log(
        `gpu-worker ended (${child.signalCode ?? `code ${child.exitCode}`}); starting it again in ${waitMs} ms`,
      );
      await sleep(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      if (stopping.signal.aborted) return;
      child = launch(options);
      const up = waitUntilReady(`${url}/readyz`, READY_MS, stopping.signal);
      up.then(() => options.log("gpu-worker is back")).catch(() => undefined);
    }
  };
  const supervised = supervise();
  return {
    url,
    get pid() {
      return child.pid;
    },
    async close() {
      stopping.abort();
      await stopChild(child);
      await supervised;
    },
  };
}

/** Its own process group: Ctrl-C at the terminal reaches the starter first, which stops things in order. */
function launch(options: GpuWorkerOptions): ChildProcess {
  const program = options.program ?? "gpu-worker/main.ts";
  const settings: Record<string, string | undefined> = {
    GPU_WORKER_HOST: options.host,
    GPU_WORKER_PORT: String(options.port),
    GPU_WORKER_KEY: options.key,
    FOREDRAFT_BUNDLE: options.bundle,
    FOREDRAFT_BUNDLE_DIR: options.bundleDir,
    GPU_WORKER_PROVIDER: options.provider ?? process.env.GPU_WORKER_PROVIDER,
    GPU_WORKER_THREADS: options.threads?.toString() ?? process.env.GPU_WORKER_THREADS,
  };
  return spawn(process.execPath, ["--import", "./scripts/parent-watch.mjs", program], {
    cwd: ROOT,
    env: { ...process.env, ...options.env, ...settings },
    stdio: ["ignore", options.quiet === true ? "ignore" : "inherit", "inherit", "ipc"],
    detached: true,
  });
}
