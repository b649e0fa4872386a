import { createApi } from "./api/api.ts";
import { type Config, readConfig } from "./config.ts";
import { SessionEngine } from "./engine/engine.ts";
import { ModelProcess } from "./process/model-process.ts";
import { Drafting } from "./serve/drafting.ts";
import { Registration } from "./serve/registration.ts";
import { type GpuServer, startServer } from "./serve/server.ts";
import { startTracing } from "./serve/tracing.ts";

/** Running steps may take this long to end once the process is asked to stop, ms. */
const GRACE_MS = 5_000;

/** Ends the process with a message for whoever started it. */
function stop(error: unknown): never {
  console.error(`gpu-worker: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}

function configuration(): Config {
  try {
    return readConfig(process.env);
  } catch (error) {
    stop(error);
  }
}

async function main(): Promise<void> {
  const {
    key,
    host,
    port,
    threads,
    bundle,
    bundleDir,
    maxSessions,
    maxWaitMs,
    registry,
    tracing: traced,
    ...settings
  } = configuration();
  const log = (line: string) => console.error(`gpu-worker: ${line}`);
  const exported = traced && startTracing(traced, log);
  const tracing = exported?.tracing ?? null;
  let server: GpuServer | null = null;
  let engine: SessionEngine | null = null;
  let registration: Registration | null = null;
  let stopping = false;
  const shutDown = async (code: number) => {
    if (stopping) return;
    stopping = true;
    // First of all, so that streams that are handed over do not come back.
    await registration?.end();
    await server?.close(GRACE_MS);
    await engine?.close();
    await exported?.close();
    process.exit(code);
  };
  process.on("SIGTERM", () => void shutDown(0));
  process.on("SIGINT", () => void shutDown(0));
  server = await startServer({ host, port, key, maxSockets: maxSessions * 2, log, tracing });

  const model = await ModelProcess.start(bundleDir, {
    ...settings,
    ...(threads === undefined ? {} : { threads }),
    onRestart: (reason) => log(`${reason}; starting it again`),
    onGivenUp: (reason) => {
      log(`${reason}; the model is given up`);
      // Whoever watches this process starts it afresh.
      void shutDown(1);
    },
  });
  engine = new SessionEngine(model, { maxSessions, maxWaitMs, events: server.metrics });
  const drafting = await Drafting.of(bundleDir);
  const api = createApi({
    engine,
    drafting,
    metrics: server.metrics,
    bundleDir,
    maxStreams: maxSessions,
    log,
    tracing,
  });
  server.serve(engine, drafting, api);
  if (registry !== null && !stopping) registration = new Registration({ ...registry, model: bundle, key, log });
  console.log(`gpu-worker: ${bundle} on ${settings.provider}, listening on ${server.url}`);
  if (model.notice !== null) console.log(`gpu-worker: ${model.notice}`);
}

await main().catch(stop);
