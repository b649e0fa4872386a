import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { stopChild } from "./child.ts";
import { CONFIG, QUIET, ROOT } from "./paths.ts";

/** The edge Worker running under workerd, behind front.ts. Nothing of it outlives this process. */
export interface Edge {
  readonly url: string;
  /** Of the process that starts workerd and starts it again if it dies. */
  readonly pid: number | undefined;
  /** Resolves when that process has ended, asked to or not: its signal or exit code. */
  readonly ended: Promise<string>;
  close(): Promise<void>;
}

export interface EdgeOptions {
  /** From `buildEdge`. */
  readonly workerDir: string;
  /** From `assembleAssets`. */
  readonly assetsDir: string;
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** Added to wrangler.toml's vars; held in memory only, so secrets may be among them. */
  readonly vars: Readonly<Record<string, string>>;
  /** Requests per period (s) in place of wrangler.toml's. */
  readonly rateLimit?: { readonly limit: number; readonly period: 10 | 60 };
  /** Where its Durable Objects are kept from one run to the next; left out: nowhere. */
  readonly stateDir?: string;
  /** Added to every answer. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Keeps the Worker's log to itself. */
  readonly quiet?: boolean;
}

/** The first message to edge-process.ts; paths are absolute. */
export type EdgeProcessOptions = Omit<EdgeOptions, "quiet">;

/** The only one from it. */
export type EdgeProcessAnswer = { readonly url: string } | { readonly error: string };

/** Bundles the Worker into `workerDir` just as `wrangler deploy` would. Throws with wrangler's words. */
export async function buildEdge(workerDir: string, assetsDir: string, signal?: AbortSignal): Promise<void> {
  await mkdir(assetsDir, { recursive: true });
  const wrangler = join(ROOT, "node_modules", "wrangler", "bin", "wrangler.js");
  const args = [wrangler, "deploy", "--dry-run", "--config", CONFIG, "--outdir", workerDir, "--assets", assetsDir];
  const child = spawn(process.execPath, args, {
    cwd: ROOT,
    env: { ...process.env, ...QUIET },
    stdio: ["ignore", "pipe", "pipe"],
    ...(signal === undefined ? {} : { signal }),
  });
  let output = "";
  child.stdout.on("data", (text) => (output += text));
  child.stderr.on("data", (text) => (output += text));
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`wrangler could not build the edge Worker:\n${output}`);
}

/** Starts workerd with wrangler.toml's bindings, in a process of its own. Resolves once it accepts requests. */
export async function startEdge({ quiet = false, ...options }: EdgeOptions): Promise<Edge> {
  // Its own process group, which holds workerd too: see edge-process.ts. Options go by message, as secrets are in them.
  const child = spawn(process.execPath, ["--import", "./scripts/parent-watch.mjs", "scripts/edge-process.ts"], {
    cwd: ROOT,
    env: { ...process.env, ...QUIET },
    stdio: ["ignore", quiet ? "ignore" : "inherit", "inherit", "ipc"],
    detached: true,
  });
  const ended = once(child, "exit").then(([code, signal]): string => signal ?? `code ${code}`);
  const wanted: EdgeProcessOptions = {
    ...options,
    workerDir: resolve(options.workerDir),
    assetsDir: resolve(options.assetsDir),
  };
  child.send(wanted);
  const answered = once(child, "message").then(([answer]) => answer as EdgeProcessAnswer);
  const answer = await Promise.race([answered, ended.then((how) => ({ error: `it ended (${how})` }))]);
  if ("error" in answer) {
    await stopChild(child);
    throw new Error(`the edge could not be started: ${answer.error}`);
  }
  return { url: answer.url, pid: child.pid, ended, close: () => stopChild(child) };
}
