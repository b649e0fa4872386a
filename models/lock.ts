/// <reference path="./fs-native-extensions.d.ts" />
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { tryLock } from "fs-native-extensions";
import { cacheDir } from "./cache.ts";
import { diskFault } from "./disk.ts";

const POLL_MS = 100;

export interface LockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once if another process, or another caller in this one, has to be waited for. */
  readonly onWait?: ((holder: string) => void) | undefined;
}

/**
 * Runs `task` while nobody else on this machine holds the lock `name` of this cache. The kernel holds it for the
 * open file, so it ends with its process however that dies, and no clock decides: compiling blocks the event loop
 * for longer than a heartbeat could be late.
 */
export async function withLock<T>(name: string, task: () => Promise<T>, options: LockOptions = {}): Promise<T> {
  const file = await openLock(join(cacheDir(), "locks", name));
  try {
    if (!tryLock(file.fd)) {
      options.onWait?.(await holderOf(file));
      do await sleep(POLL_MS, undefined, { signal: options.signal });
      while (!tryLock(file.fd));
    }
    await file.truncate(0);
    await file.write(String(process.pid));
    return await task();
  } finally {
    await file.close();
  }
}

/** Never removed: who waits has it open already. Throws DiskFault. */
async function openLock(path: string): Promise<FileHandle> {
  try {
    await mkdir(cacheDir(), { recursive: true });
    // Not recursively: on a read-only disk that says ENOENT.
    await mkdir(dirname(path)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    return await open(path, "a+");
  } catch (error) {
    throw diskFault(error, path) ?? error;
  }
}

async function holderOf(file: FileHandle): Promise<string> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(16), 0, 16, 0);
  const pid = buffer.toString("latin1", 0, bytesRead);
  return /^\d+$/.test(pid) && Number(pid) !== process.pid ? `process ${pid}` : "another caller";
}
