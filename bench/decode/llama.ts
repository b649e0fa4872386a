import { type ChildProcess, execFile, fork } from "node:child_process";
import { once } from "node:events";
import { access, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheDir } from "../../models/cache.ts";

/** llama.cpp on the same weights, the outside yardstick; installed on demand and never a dependency. */
const VERSION = "3.22.1";

export interface Llama {
  /** Decodes `count` greedy tokens after `tokens`; tokens per second, prefill not counted. */
  run(tokens: readonly number[], count: number): Promise<number>;
  close(): void;
}

/** Throws where the package cannot be installed or started. */
export async function startLlama(gguf: string, threads: number): Promise<Llama> {
  const dir = join(cacheDir(), "llama");
  const entry = join(dir, "node_modules", "node-llama-cpp", "dist", "index.js");
  await access(entry).catch(() => install(dir));
  const child = fork(join(import.meta.dirname, "llama-child.mjs"), [entry, gguf, String(threads)], {
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  const errors: string[] = [];
  child.stderr?.on("data", (data: Buffer) => errors.push(data.toString()));
  await answer(child, errors);
  return {
    async run(tokens, count) {
      child.send({ tokens, count });
      const { count: made, seconds } = (await answer(child, errors)) as { count: number; seconds: number };
      return (made - 1) / seconds;
    },
    close: () => child.kill(),
  };
}

async function install(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "package.json"), '{"private":true}\n');
  // Its optional packages hold CUDA builds of hundreds of megabytes; only the CPU's is named.
  const packages = [`node-llama-cpp@${VERSION}`, `@node-llama-cpp/linux-x64@${VERSION}`];
  const flags = ["--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"];
  await promisify(execFile)("npm", ["install", "--prefix", dir, ...flags, ...packages], { cwd: dir });
}

async function answer(child: ChildProcess, errors: readonly string[]): Promise<unknown> {
  const done = new AbortController();
  const exited = once(child, "exit", { signal: done.signal }).then(() => {
    throw new Error(`node-llama-cpp ended: ${errors.join("").trim().split("\n").at(-1)}`);
  });
  try {
    const [message] = await Promise.race([once(child, "message", { signal: done.signal }), exited]);
    return message;
  } finally {
    exited.catch(() => undefined);
    done.abort();
  }
}
