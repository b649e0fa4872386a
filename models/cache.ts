import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";

/** Everything fetched or compiled: FOREDRAFT_CACHE, or .cache in the repository. Never committed. */
export function cacheDir(): string {
  return resolve(process.env.FOREDRAFT_CACHE ?? join(import.meta.dirname, "..", ".cache"));
}

/** Hex SHA-256 of a file, streamed. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest("hex");
}

export function sha256(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}
