/**
 * Preloaded (--import) into processes that must not outlive the one that started them: when the IPC
 * channel closes because the parent is gone, however it died, ask this process to stop.
 */
import { isMainThread } from "node:worker_threads";

if (isMainThread && process.channel !== undefined) {
  process.on("disconnect", () => process.kill(process.pid, "SIGTERM"));
  process.channel?.unref();
}
