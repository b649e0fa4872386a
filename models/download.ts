import { createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Agent, fetch } from "undici";
import { diskFault } from "./disk.ts";
import { Silence } from "./silence.ts";

/** How long a server may take to answer at all. */
const CONNECT_MS = 8_000;

export interface FetchOptions {
  /** Bytes of the whole file. */
  readonly bytes: number;
  /** How long nothing may arrive, ms; what has arrived is kept. */
  readonly stallMs: number;
  readonly onBytes: (done: number) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * Fetches `url` into `part`, continuing where an earlier try stopped. By undici itself: the one in Node 24 throws, where
 * nobody can catch it, if a connection ends while its reader is busy (nodejs/undici#5360).
 */
export async function download(url: string, part: string, options: FetchOptions): Promise<void> {
  const { bytes, stallMs, onBytes, signal } = options;
  const have = await stat(part).then(
    (s) => s.size,
    () => 0,
  );
  if (have === bytes) return;
  const silence = new Silence();
  // Its own: the one of the process may be Node's.
  const dispatcher = new Agent();
  silence.expect(Math.min(CONNECT_MS, stallMs), "no answer");
  try {
    const response = await fetch(url, {
      dispatcher,
      headers: have > 0 && have < bytes ? { range: `bytes=${have}-` } : {},
      signal: AbortSignal.any(signal ? [silence.signal, signal] : [silence.signal]),
    });
    if (!response.ok || !response.body) throw new Error(`HTTP ${response.status}`);
    silence.expect(stallMs, "nothing more arrived");
    const resumed = response.status === 206;
    let done = resumed ? have : 0;
    const count = new Transform({
      transform(chunk: Buffer, _encoding, callback) {
        done += chunk.length;
        silence.heard();
        onBytes(done);
        // A server that sends something else must not fill the disk.
        callback(done > bytes ? new Error("more bytes than expected") : null, chunk);
      },
    });
    const body = Readable.fromWeb(response.body as import("node:stream/web").ReadableStream);
    await pipeline(body, count, createWriteStream(part, { flags: resumed ? "a" : "w" }));
  } catch (error) {
    // The one reason for which other sources are of no use.
    throw diskFault(error, part) ?? error;
  } finally {
    silence.stop();
    await dispatcher.destroy();
  }
}
