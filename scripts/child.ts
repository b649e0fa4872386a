import type { ChildProcess } from "node:child_process";
import { once } from "node:events";

const GRACE_MS = 8_000;

/** Asks a process to end, and makes it after a grace. Resolves when it has. */
export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  const forced = setTimeout(() => child.kill("SIGKILL"), GRACE_MS);
  await gone;
  clearTimeout(forced);
}
