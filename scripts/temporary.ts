import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";

/** Of what this machine's processes make: others may share the folder. */
const PREFIX = `foredraft-${hostname().replaceAll(/[^A-Za-z0-9.]/g, "_")}`;
const OWNED = /^-(\d+)-/;

/**
 * A new folder for this process, which is to remove it; one that is killed leaves it behind. So those whose process is gone
 * are removed first.
 */
export async function temporaryDir(kind: string): Promise<string> {
  await sweep(tmpdir());
  return await mkdtemp(join(tmpdir(), `${PREFIX}-${process.pid}-${kind}-`));
}

async function sweep(dir: string): Promise<void> {
  const names = await readdir(dir);
  const left = await Promise.all(names.map(async (name) => ((await isLeft(name)) ? [name] : [])));
  // Another process may be removing the same ones, or they are somebody else's.
  await Promise.all(
    left.flat().map((name) => rm(join(dir, name), { recursive: true, force: true }).catch(() => undefined)),
  );
}

async function isLeft(name: string): Promise<boolean> {
  const owner = name.startsWith(PREFIX) ? OWNED.exec(name.slice(PREFIX.length))?.[1] : undefined;
  return owner !== undefined && !(await isAlive(Number(owner)));
}

async function isAlive(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Somebody else's process, which is there.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  // One that has ended keeps its number until its parent asks, which some never do.
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return !stat.slice(stat.lastIndexOf(")")).startsWith(") Z");
}
