import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Below the ports that systems give to connections: one of those, which anybody's attempt to connect may take, could be
 * gone before it is listened on.
 */
const PORTS = { from: 20_000, to: 32_768 };
const TRIES = 100;

/**
 * The port to listen on: `port` itself when free, any free one for 0.
 * Throws, naming `option`, when it is taken.
 */
export async function freePort(host: string, port: number, option: string): Promise<number> {
  for (let left = port === 0 ? TRIES : 1; left > 0; left--) {
    const wanted = port === 0 ? randomInt(PORTS.from, PORTS.to) : port;
    if (await isFree(host, wanted)) return wanted;
  }
  throw new Error(`port ${port} on ${host} is in use; choose another with ${option}`);
}

/** Throws where it cannot be listened on for another reason than that somebody else does. */
async function isFree(host: string, port: number): Promise<boolean> {
  const server = createServer();
  server.listen({ host, port, exclusive: true });
  try {
    await once(server, "listening");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EADDRINUSE") return false;
    throw new Error(`cannot listen on ${host}:${port} (${code})`);
  }
  server.close();
  await once(server, "close");
  return true;
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
