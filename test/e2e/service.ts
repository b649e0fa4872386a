import { setTimeout as sleep } from "node:timers/promises";
import OpenAI, { type ClientOptions } from "openai";
import { inject } from "vitest";
import { type EdgeOptions, startEdge } from "../../scripts/edge.ts";
import { type GpuWorker, type GpuWorkerOptions, startGpuWorker } from "../../scripts/gpu-worker.ts";
import { freePort } from "../../scripts/net.ts";

export interface ServiceOptions {
  /** "tiny": the real gpu-worker with the committed bundle. "fake": its server over a scripted engine. */
  readonly engine: "tiny" | "fake";
  /** Environment of the gpu-worker. */
  readonly env?: Readonly<Record<string, string>>;
  /** Variables of the Worker. */
  readonly vars?: Readonly<Record<string, string>>;
  readonly rateLimit?: EdgeOptions["rateLimit"];
}

/** The edge in workerd before a gpu-worker process, both of this test's own. */
export interface Service {
  readonly url: string;
  readonly gpuWorker: GpuWorker;
  readonly gpuKey: string;
  client(options?: ClientOptions): OpenAI;
  /** POSTs JSON, or a string as it is. */
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  /** Sessions open at the gpu-worker. */
  openSessions(): Promise<number>;
  close(): Promise<void>;
}

const KEY = "a key of the tests' own";

export async function startService(options: ServiceOptions): Promise<Service> {
  const gpuWorker = await startGpuWorker({
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
  const vars = { DEFAULT_MODEL: "tiny", GPU_WORKER_URL: gpuWorker.url, GPU_WORKER_KEY: KEY, ...options.vars };
  const rateLimit = options.rateLimit ?? { limit: 100_000, period: 60 };
  const starting = startEdge({ ...inject("built"), host: "127.0.0.1", port: 0, vars, rateLimit, quiet: true });
  const edge = await starting.catch(async (error: unknown) => {
    await gpuWorker.close();
    throw error;
  });
  return {
    url: edge.url,
    gpuWorker,
    gpuKey: KEY,
    client: (more = {}) => new OpenAI({ baseURL: `${edge.url}/v1`, apiKey: "any", maxRetries: 0, ...more }),
    post: (path, body, init = {}) =>
      fetch(`${edge.url}${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: typeof body === "string" ? body : JSON.stringify(body),
        ...init,
      }),
    openSessions: () => openSessions(gpuWorker.url),
    async close() {
      await edge.close();
      await gpuWorker.close();
    },
  };
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
