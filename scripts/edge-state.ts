import { createHash, randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDir } from "../models/cache.ts";

/** What the edge of `npm start` on `port` keeps from one run to the next: keys, and what is remembered of them. */
export function edgeStateDir(port: number): string {
  return join(cacheDir(), "edge", String(port));
}

/** The administrator's key of the edge at `port`, made by its first start; null where it has none yet. */
export async function readAdminKey(port: number): Promise<string | null> {
  try {
    return (await readFile(adminKeyFile(port), "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** The same, made where there is none. Only this user can read it. */
export async function ensureAdminKey(port: number): Promise<string> {
  await mkdir(edgeStateDir(port), { recursive: true, mode: 0o700 });
  const known = await readAdminKey(port);
  if (known !== null) return known;
  const key = randomBytes(32).toString("base64url");
  await writeFile(adminKeyFile(port), `${key}\n`, { mode: 0o600 });
  return key;
}

/** SHA-256 in hex, as the edge's variables hold keys. */
export function keyHash(key: string): string {
  return createHash("sha256").update(key).digest("hex");
}

function adminKeyFile(port: number): string {
  return join(edgeStateDir(port), "admin-key");
}
