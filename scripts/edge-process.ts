import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { convertV4MiniflareOptions, Miniflare, type V4MiniflareOptions } from "miniflare";
import { unstable_getMiniflareWorkerOptions } from "wrangler";
import type { EdgeOptions, EdgeProcessAnswer, EdgeProcessOptions } from "./edge.ts";
import { startFront } from "./front.ts";
import { CONFIG } from "./paths.ts";
import { temporaryDir } from "./temporary.ts";

/**
 * The process that has workerd in its charge, started by `startEdge` as the leader of a process group. miniflare ends
 * workerd when this process is asked to stop, which parent-watch.mjs does once the starter is gone.
 */

const answer = (message: EdgeProcessAnswer) => process.send?.(message);

// parent-watch.mjs lets a process end that has nothing else to wait for.
process.channel?.ref();
try {
  const [options] = await once(process, "message");
  guardGroup();
  // miniflare's and workerd's own files.
  const own = await temporaryDir("workerd");
  process.on("exit", () => rmSync(own, { recursive: true, force: true }));
  Object.assign(process.env, { TMPDIR: own });
  const miniflare = new Miniflare(miniflareOptions(options));
  const { host, port, headers = {} } = options;
  const front = await startFront({ host, port, headers, target: await miniflare.ready });
  answer({ url: front.url.origin });
} catch (error) {
  answer({ error: error instanceof Error ? error.message : String(error) });
}

/**
 * workerd does not notice that miniflare is gone. A shell in the same process group does: its input ends with this
 * process, even one that is killed, and then it kills the group. No process id can be mistaken for another's, since
 * the shell itself keeps the group's in use.
 */
function guardGroup(): void {
  const guard = spawn("sh", ["-c", "read -r _; kill -KILL 0"], { stdio: ["pipe", "ignore", "ignore"] });
  guard.on("error", (error) => console.error(`workerd would outlive a killed process: ${error.message}`));
  guard.unref();
}

function miniflareOptions({ workerDir, assetsDir, host, vars, rateLimit, stateDir }: EdgeProcessOptions) {
  const { workerOptions } = unstable_getMiniflareWorkerOptions(CONFIG, undefined, {
    overrides: { assets: { directory: assetsDir } },
  });
  // wrangler and miniflare each carry their own declaration of these options. The build has settled
  // what kind of module each file is.
  const { modulesRules: _settled, ...worker }: Record<string, unknown> = { ...workerOptions };
  const bindings: Record<string, unknown> = {
    ...hostVars(host),
    ...(worker.bindings as object),
    ...limitVars(rateLimit),
    ...vars,
    // front.ts sets it, whoever calls.
    TRUST_CONNECTING_IP: "true",
  };
  const local: Record<string, unknown> = {
    // front.ts takes the callers' connections.
    host: "127.0.0.1",
    port: 0,
    cf: false,
    telemetry: { enabled: false },
    ...worker,
    // Here, unlike in a deployment, anybody may call unless there are keys or it is said otherwise.
    bindings: { ANONYMOUS: String(!bindings.API_KEYS), ...bindings },
    modules: true,
    modulesRoot: workerDir,
    scriptPath: join(workerDir, "index.js"),
    ...(stateDir === undefined ? {} : { resourcePersistencePath: stateDir }),
    ...(rateLimit === undefined ? {} : { ratelimits: { LIMIT: { namespace_id: "local", simple: rateLimit } } }),
  };
  return convertV4MiniflareOptions(local as unknown as V4MiniflareOptions);
}

/** Where only this machine can connect, no page may by giving a name of its own this machine's address. */
function hostVars(host: string): Record<string, string> {
  const isLoopback = host === "localhost" || host === "::1" || host.startsWith("127.");
  return isLoopback ? { ALLOWED_HOSTS: "localhost" } : {};
}

/** The edge tells callers its limit, which the binding itself does not say. */
function limitVars(rateLimit: EdgeOptions["rateLimit"]): Record<string, string> {
  if (rateLimit === undefined) return {};
  return { RATE_LIMIT_REQUESTS: String(rateLimit.limit), RATE_LIMIT_PERIOD_S: String(rateLimit.period) };
}
