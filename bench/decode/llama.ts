import { type ChildProcess, execFile, fork } from "node:child_process";
import { once } from "node:events";
import { access, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheDir } from "../../models/cache.ts";
import { pull } from "../../models/pull.ts";
import { readSource } from "../../models/source.ts";

/** llama.cpp on the same weights, the outside yardstick; installed on demand and never a dependency. */
const VERSION = "3.22.1";

export interface LlamaAnswer {
  /** [tokens] ms since it was asked. */
  readonly times: readonly number[];
  readonly tokens: readonly number[];
}

/** A process with one model and one context of several sequences, which llama.cpp decodes in batches. */
export class Llama {
  readonly #child: ChildProcess;
  readonly #errors: string[] = [];
  readonly #waiting = new Map<number, { resolve: (message: unknown) => void; reject: (error: Error) => void }>();
  #nextId = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stderr?.on("data", (data: Buffer) => this.#errors.push(data.toString()));
    child.on("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(this.#ended());
    });
    child.on("message", (message: { id?: number }) => {
      const id = message.id ?? -1;
      this.#waiting.get(id)?.resolve(message);
      this.#waiting.delete(id);
    });
  }

  /** Throws where the package cannot be installed or started. */
  static async start(gguf: string, threads: number): Promise<Llama> {
    const dir = join(cacheDir(), "llama");
    const entry = join(dir, "node_modules", "node-llama-cpp", "dist", "index.js");
    await access(entry).catch(() => install(dir));
    const child = fork(join(import.meta.dirname, "llama-child.mjs"), [entry, gguf, String(threads)], {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    const llama = new Llama(child);
    await Promise.race([once(child, "message"), once(child, "exit").then(() => Promise.reject(llama.#ended()))]);
    return llama;
  }

  /**
   * A new context in place of the old one: nothing computed before is known to it. Of its sequences the last `lookups`
   * draft what followed the newest tokens in the prompt (its prompt lookup), in place of nothing.
   */
  async renew(sequences: number, contextSize: number, lookups = 0): Promise<void> {
    await this.#ask({ sequences, contextSize, lookups });
  }

  /** Up to `count` greedy tokens after `tokens`, on a sequence that nobody else uses meanwhile; the last is the end of the text where there is one. */
  async answer(sequence: number, tokens: readonly number[], count: number): Promise<LlamaAnswer> {
    return (await this.#ask({ sequence, tokens, count })) as LlamaAnswer;
  }

  close(): void {
    this.#child.kill();
  }

  #ask(message: object): Promise<unknown> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, ...message });
    });
  }

  #ended(): Error {
    const lines = this.#errors.join("").trim().split("\n");
    return new Error(`node-llama-cpp ended: ${lines.find((line) => /error/i.test(line)) ?? lines.at(-1)}`);
  }
}

/** llama.cpp on a bundle's weights, or why it cannot be had. */
export async function obtainLlama(bundle: string, threads: number): Promise<[Llama | null, string | null]> {
  try {
    return [await Llama.start(await pull(await readSource(bundle)), threads), null];
  } catch (error) {
    return [null, (error as Error).message.split("\n")[0] ?? ""];
  }
}

async function install(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "package.json"), '{"private":true}\n');
  // Its optional packages hold CUDA builds of hundreds of megabytes; only the CPU's is named.
  const packages = [`node-llama-cpp@${VERSION}`, `@node-llama-cpp/linux-x64@${VERSION}`];
  const flags = ["--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"];
  await promisify(execFile)("npm", ["install", "--prefix", dir, ...flags, ...packages], { cwd: dir });
}
