import { setTimeout as sleep } from "node:timers/promises";
import OpenAI, { type ClientOptions } from "openai";
import { afterAll, beforeAll, inject } from "vitest";
import { type Edge, type EdgeOptions, startEdge } from "../../scripts/edge.ts";
import { type GpuWorker, type GpuWorkerOptions, startGpuWorker } from "../../scripts/gpu-worker.ts";
import { freePort } from "../../scripts/net.ts";

export interface ServiceOptions {
  /** "tiny": the real gpu-worker with the committed bundle. "fake": its server over a scripted engine. */
  readonly engine: "tiny" | "fake";
  /** Gpu-workers (1). */
  readonly workers?: number;
  /** Environment of the gpu-worker. */
  readonly env?: Readonly<Record<string, string>>;
  /** Variables of the Worker. */
  readonly vars?: Readonly<Record<string, string>>;
  readonly rateLimit?: EdgeOptions["rateLimit"];
  /** Where the edge keeps its Durable Objects. */
  readonly stateDir?: string;
}

/** The edge in workerd before gpu-worker processes, all of this test's own. */
export interface Service {
  readonly url: string;
  readonly edge: Edge;
  /** The first of `gpuWorkers`. */
  readonly gpuWorker: GpuWorker;
  readonly gpuWorkers: readonly GpuWorker[];
  readonly gpuKey: string;
  client(options?: ClientOptions): OpenAI;
  /** POSTs JSON, or a string as it is. */
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  /** Sessions open at a gpu-worker, the first where none is named. */
  openSessions(worker?: GpuWorker): Promise<number>;
  close(): Promise<void>;
}

const KEY = "a key of the tests' own";

export async function startService(options: ServiceOptions): Promise<Service> {
  const gpuWorkers = await startWorkers(options);
  const close = () => Promise.all(gpuWorkers.map((worker) => worker.close()));
  const gpuWorker = gpuWorkers[0]!;
  const urls = gpuWorkers.map(({ url }) => url).join();
  const vars = { DEFAULT_MODEL: "tiny", GPU_WORKER_URL: urls, GPU_WORKER_KEY: KEY, ...options.vars };
  const rateLimit = options.rateLimit ?? { limit: 100_000, period: 60 };
  const state = options.stateDir === undefined ? {} : { stateDir: options.stateDir };
  const starting = startEdge({
    ...inject("built"),
    ...state,
    host: "127.0.0.1",
    port: 0,
    vars,
    rateLimit,
    quiet: true,
  });
  const edge = await starting.catch(async (error: unknown) => {
    await close();
    throw error;
  });
  return {
    url: edge.url,
    edge,
    gpuWorker,
    gpuWorkers,
    gpuKey: KEY,
    client: (more = {}) => new OpenAI({ baseURL: `${edge.url}/v1`, apiKey: "any", maxRetries: 0, ...more }),
    post: (path, body, init = {}) =>
      fetch(`${edge.url}${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: typeof body === "string" ? body : JSON.stringify(body),
        ...init,
      }),
    openSessions: (worker = gpuWorker) => openSessions(worker.url),
    async close() {
      await edge.close();
      await close();
    },
  };
}

/** One service for all tests of a file or group; `use` is given it before they begin. */
export function serving(options: ServiceOptions, use: (service: Service) => void): void {
  let service: Service | undefined;
  beforeAll(async () => {
    service = await startService(options);
    use(service);
  });
  afterAll(() => service?.close());
}

/** All of them or none. */
async function startWorkers(options: ServiceOptions): Promise<GpuWorker[]> {
  const starting = Array.from({ length: options.workers ?? 1 }, () => startWorker(options));
  const settled = await Promise.allSettled(starting);
  const failed = settled.find(({ status }) => status === "rejected");
  const started = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  if (failed === undefined) return started;
  for (const worker of started) await worker.close();
  throw (failed as PromiseRejectedResult).reason;
}

async function startWorker(options: ServiceOptions): Promise<GpuWorker> {
  return await startGpuWorker({
    host: "127.0.0.1",
    port: await freePort("127.0.0.1", 0, "port"),
    key: KEY,
    bundle: "tiny",
    // Test files run side by side; threads that spin for one another would only take turns.
    threads: 1,
    log: () => undefined,
    quiet: true,
    env: options.env ?? {},
    ...(options.engine === "fake" ? { program: "test/fakes/serve.ts" } : {}),
  } satisfies GpuWorkerOptions);
}

async function openSessions(url: string): Promise<number> {
  const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } });
  const value = /^\w*sessions(?:_open)?(?:\{.*?\})? (\d+)$/m.exec(await response.text())?.[1];
  if (value === undefined) throw new Error("the gpu-worker's metrics name no sessions");
  return Number(value);
}

/** Asks until the answer is the one awaited; the test's own time limit ends the wait. */
export async function eventually<T>(ask: () => Promise<T>, done: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await ask();
    if (done(value)) return value;
    await sleep(20);
  }
}

/** The frames of an SSE body, comments too, each as it arrived; every read is decoded by itself. */
export async function* frames(response: Response): AsyncGenerator<string, void> {
  const strict = new TextDecoder("utf-8", { fatal: true });
  let rest = "";
  for await (const bytes of response.body ?? []) {
    rest += strict.decode(bytes, { stream: true });
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
      yield rest.slice(0, end);
      rest = rest.slice(end + 2);
    }
  }
  if (rest !== "") throw new Error(`the stream ends inside a frame: ${rest}`);
}
