import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { assembleAssets } from "./assets.ts";
import { startWire, type Wire } from "./delay.ts";
import { buildEdge, type Edge, type EdgeOptions, startEdge } from "./edge.ts";
import { type GpuWorker, startGpuWorker } from "./gpu-worker.ts";
import { freePort, waitUntilReady } from "./net.ts";
import { ASSETS } from "./paths.ts";
import { temporaryDir } from "./temporary.ts";

/** A compiled bundle, from `ensureBundle`. */
export interface ServedBundle {
  readonly name: string;
  readonly dir: string;
}

export interface StackOptions {
  readonly bundle: string;
  /** The compiled bundle, from `ensureBundle`. */
  readonly bundleDir: string;
  /** More models, a gpu-worker each. */
  readonly others?: readonly ServedBundle[];
  readonly host?: string;
  /** 0, the default, takes any free port. */
  readonly port?: number;
  /** Of the first gpu-worker. */
  readonly gpuPort?: number;
  /** Gpu-workers (1). */
  readonly workers?: number;
  /** Delay put into the wire between edge and gpu-workers, round trip, ms. */
  readonly rttMs?: number;
  /** As `rttMs`, of further edges before the same gpu-workers. Every edge names all of them to the demo page. */
  readonly distances?: readonly number[];
  readonly gpuKey?: string;
  readonly provider?: string | undefined;
  readonly threads?: number | undefined;
  readonly assetsDir?: string;
  readonly rateLimit?: EdgeOptions["rateLimit"];
  /** Where the first edge keeps its Durable Objects. */
  readonly stateDir?: string | undefined;
  /** Added to the Worker's variables. */
  readonly vars?: EdgeOptions["vars"];
  readonly log?: (line: string) => void;
  /** Gives up starting. Without it SIGINT and SIGTERM close the stack and end the process. */
  readonly signal?: AbortSignal;
}

/** A gpu-worker and an edge before it, both ready. */
export interface Stack {
  readonly edge: Edge;
  /** The first of `gpuWorkers`. */
  readonly gpuWorker: GpuWorker;
  readonly gpuWorkers: readonly GpuWorker[];
  readonly gpuKey: string;
  /** Another edge before the same gpu-workers, `rttMs` away from them; it is closed with the stack. */
  edgeAt(rttMs: number): Promise<DistantEdge>;
  /** Stops the edge, then the gpu-worker; safe to call twice. */
  close(): Promise<void>;
}

export interface DistantEdge extends Edge {
  /** One to each gpu-worker. */
  readonly wires: readonly Wire[];
}

/** Starts the whole service on this machine. Nothing is left running or lying about when it rejects. */
export async function startStack(options: StackOptions): Promise<Stack> {
  const host = options.host ?? "127.0.0.1";
  const log = options.log ?? (() => undefined);
  const signal = options.signal ?? stopSignal(() => close());
  const gpuKey = options.gpuKey ?? randomBytes(24).toString("base64url");
  const port = await freePort(host, options.port ?? 0, "--port");
  const { bundle, bundleDir, workers = 1, others = [] } = options;
  const served = [...Array<ServedBundle>(workers).fill({ name: bundle, dir: bundleDir }), ...others];
  const ports = await gpuPorts(options.gpuPort, served.length);
  const assetsDir = options.assetsDir ?? ASSETS;
  const workerDir = await temporaryDir("edge");
  const closers: (() => Promise<unknown>)[] = [() => rm(workerDir, { recursive: true, force: true })];
  let closing: Promise<void> | null = null;
  const close = () => (closing ??= closeAll(closers));
  try {
    const starting = served.map(({ name, dir }, i) =>
      startGpuWorker({ ...gpuOptions(options, gpuKey), bundle: name, bundleDir: dir, port: ports[i]!, log, signal }),
    );
    // Kept for `close` before anything else can fail, else the processes would stay.
    closers.push(() => Promise.all(starting.map((one) => one.then((worker) => worker.close()).catch(() => undefined))));
    const built = assembleAssets(assetsDir, new Map(served.map(({ name, dir }) => [name, dir]))).then(() =>
      buildEdge(workerDir, assetsDir, signal),
    );
    const [gpuWorkers] = await Promise.all([Promise.all(starting), built]);
    const { rttMs = 0, distances = [] } = options;
    const further: { rttMs: number; port: number }[] = [];
    for (const away of distances) further.push({ rttMs: away, port: await freePort(host, 0, "--port") });
    const headers = distancesHeader([{ rttMs, port }, ...further]);
    const addEdge = async (workers: readonly { readonly url: string }[], ownPort: number, stateDir?: string) => {
      const urls = workers.map(({ url }, i) => `${served[i]!.name}=${url}`).join();
      const models = [...new Set(served.map(({ name }) => name))].join();
      const own = { GPU_WORKER_URL: urls, GPU_WORKER_KEY: gpuKey, DEFAULT_MODEL: models };
      const vars = { ...options.vars, ...own };
      const more = {
        ...(options.rateLimit === undefined ? {} : { rateLimit: options.rateLimit }),
        ...(stateDir === undefined ? {} : { stateDir }),
      };
      const edge = await startEdge({ workerDir, assetsDir, host, port: ownPort, vars, headers, ...more });
      closers.push(() => edge.close());
      await waitUntilReady(`${edge.url}/readyz`, 30_000, signal);
      return edge;
    };
    const wiresOf = async (rttMs: number) => {
      const wires = await Promise.all(gpuWorkers.map(({ url }) => startWire(url, rttMs)));
      closers.push(() => Promise.all(wires.map((wire) => wire.close())));
      return wires;
    };
    const edgeAt = async (rttMs: number): Promise<DistantEdge> => {
      const wires = await wiresOf(rttMs);
      return { ...(await addEdge(wires, 0)), wires };
    };
    const nearest = rttMs === 0 ? gpuWorkers : await wiresOf(rttMs);
    const edge = await addEdge(nearest, port, options.stateDir);
    for (const away of further) await addEdge(await wiresOf(away.rttMs), away.port);
    return { edge, gpuWorker: gpuWorkers[0]!, gpuWorkers, gpuKey, edgeAt, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Read by the demo page: round trip in ms, and the port of the edge that is so far away. */
function distancesHeader(edges: readonly { readonly rttMs: number; readonly port: number }[]): Record<string, string> {
  if (edges.length < 2) return {};
  return { "x-distances": edges.map(({ rttMs, port }) => `${rttMs}=${port}`).join() };
}

function gpuOptions({ provider, threads }: StackOptions, key: string) {
  return { host: "127.0.0.1", key, provider, threads };
}

/** Free ones, from `gpuPort` on where that is given. */
async function gpuPorts(gpuPort = 0, count = 1): Promise<number[]> {
  const ports: number[] = [];
  for (let i = 0; i < count; i++) {
    ports.push(await freePort("127.0.0.1", gpuPort === 0 ? 0 : gpuPort + i, "--gpu-port"));
  }
  return ports;
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
