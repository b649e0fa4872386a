import { type Config, readConfig } from "./config.ts";
import { startServer } from "./server.ts";
import { createThreadEngine } from "./threaded.ts";

/** Running steps may take this long to end once the process is asked to stop, ms. */
const GRACE_MS = 5_000;
const EXPIRY_MS = 10_000;

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
  const { key, host, port, provider, threads, maxSessions, kvLimitBytes, bundle, bundleDir } = configuration();
  const server = await startServer({ host, port, key, maxSockets: maxSessions * 2 });
  let stopping = false;
  const shutDown = async () => {
    if (stopping) return;
    stopping = true;
    await server.close(GRACE_MS);
    await (await starting.catch(() => null))?.close();
    process.exit(0);
  };
  process.on("SIGTERM", shutDown);
  process.on("SIGINT", shutDown);

  const starting = createThreadEngine(bundleDir, {
    provider,
    maxSessions,
    kvLimitBytes,
    ...(threads === undefined ? {} : { threads }),
    onDeath: (error) => stop(error),
  });
  const engine = await starting;
  setInterval(() => engine.expire(), EXPIRY_MS).unref();
  server.serve(engine);
  console.log(`gpu-worker: ${bundle} on ${provider}, listening on ${server.url}`);
  if (engine.notice !== null) console.log(`gpu-worker: ${engine.notice}`);
}

await main().catch(stop);
