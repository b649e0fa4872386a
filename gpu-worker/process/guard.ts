import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

/**
 * Kills `child` once this process is gone, however it ended: a child that is stopped, or in a native call, does not notice
 * that its channel was closed. A shell does it whose input ends with this process. Resolves once the child has ended and
 * the shell with it.
 */
export async function guard(child: ChildProcess): Promise<void> {
  if (child.pid === undefined) return;
  const exited = once(child, "exit");
  // In a session of its own: what is typed at a terminal, or sent to the group, is not for it.
  const shell = spawn("sh", ["-c", 'read -r _; kill -KILL "$0"', String(child.pid)], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  const ended = once(shell, "exit").catch((error: Error) => {
    console.error(`the model's process would outlive a killed gpu-worker: ${error.message}`);
  });
  await exited;
  // Before its input ends: the child's number may be another process's by then.
  shell.kill("SIGKILL");
  await ended;
}
