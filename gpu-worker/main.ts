import { type Config, readConfig } from "./config.ts";
import { startServer } from "./server.ts";
import { createThreadEngine, type ThreadEngine } from "./threaded.ts";

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
  const { key, host, port, threads, bundle, bundleDir, ...settings } = configuration();
  const log = (line: string) => console.error(`gpu-worker: ${line}`);
  const server = await startServer({ host, port, key, maxSockets: settings.maxSessions * 2, log });
  let engine: ThreadEngine | null = null;
  let stopping = false;
  const shutDown = async () => {
    if (stopping) return;
    stopping = true;
    await server.close(GRACE_MS);
    await engine?.close();
    process.exit(0);
  };
  process.on("SIGTERM", shutDown);
  process.on("SIGINT", shutDown);

  const loaded = await createThreadEngine(bundleDir, {
    ...settings,
    ...(threads === undefined ? {} : { threads }),
    onDeath: (error) => stop(error),
  });
  engine = loaded;
  setInterval(() => loaded.expire(), EXPIRY_MS).unref();
  server.serve(loaded);
  console.log(`gpu-worker: ${bundle} on ${settings.provider}, listening on ${server.url}`);
  if (loaded.notice !== null) console.log(`gpu-worker: ${loaded.notice}`);
}

await main().catch(stop);
