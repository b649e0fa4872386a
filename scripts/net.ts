import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * The port to listen on: `port` itself when free, any free one for 0.
 * Throws, naming `option`, when it is taken.
 */
export async function freePort(host: string, port: number, option: string): Promise<number> {
  const server = createServer();
  server.listen({ host, port, exclusive: true });
  try {
    await once(server, "listening");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EADDRINUSE") throw new Error(`port ${port} on ${host} is in use; choose another with ${option}`);
    throw new Error(`cannot listen on ${host}:${port} (${code})`);
  }
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : port;
}

/** Polls until `url` answers 200. Rejects after `limitMs` with its last answer, or when `signal` aborts. */
export async function waitUntilReady(url: string, limitMs: number, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + limitMs;
  let last = "no answer";
  while (performance.now() < deadline) {
    signal.throwIfAborted();
    try {
      const response = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(5_000)]) });
      if (response.ok) {
        await response.body?.cancel();
        return;
      }
      last = `${response.status} ${(await response.text()).slice(0, 200)}`;
    } catch (error) {
      signal.throwIfAborted();
      last = error instanceof Error ? error.message : String(error);
    }
    await sleep(50, undefined, { signal });
  }
  throw new Error(`${url} is not ready after ${limitMs / 1000} s: ${last}`);
}
