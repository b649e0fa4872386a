import { type ChildProcess, fork } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { assert } from "../../shared/assert.ts";
import type { EngineModel } from "../engine/engine.ts";
import type { LoadOptions } from "../load.ts";
import { type PassResult, type Runner, type RunnerItem, RunnerLost } from "../runner.ts";
import { guard } from "./guard.ts";
import type { FromModel, ToModel } from "./messages.ts";

export interface ModelProcessOptions extends LoadOptions {
  /** Longest time of one pass; beyond it the process is taken to hang, ms. Default 20 s. */
  readonly hangMs?: number;
  /** Told when the process is started again, with the reason. */
  readonly onRestart?: (reason: string) => void;
  /** Told when no more starts are tried, with the last reason. */
  readonly onGivenUp?: (reason: string) => void;
}

const HANG_MS = 20_000;
/** Longest time of a start, ms. */
const LOAD_MS = 120_000;
/** Starts in a row that end before a pass was run; then the model is given up. */
const MAX_STARTS = 4;
const BACKOFF_MS = [0, 500, 2_000, 5_000];

type Ready = Extract<FromModel, { op: "ready" }>;

/** A model in a process of its own, started again when it is lost. */
export class ModelProcess implements EngineModel {
  readonly #bundleDir: string;
  readonly #options: ModelProcessOptions;
  readonly #ready: Ready;
  readonly #closing = new AbortController();
  #link: Link;
  #starts = 0;
  readonly runner: Runner;

  private constructor(bundleDir: string, options: ModelProcessOptions, link: Link, ready: Ready) {
    this.#bundleDir = bundleDir;
    this.#options = options;
    this.#link = link;
    this.#ready = ready;
    this.runner = {
      open: (id, session, pages, cached) => this.#link.send({ op: "open", id, session, pages, cached }),
      run: (items) => this.#run(items),
      close: (id) => this.#link.send({ op: "close", id }),
    };
  }

  /** Rejects with what kept the model from loading. */
  static async start(bundleDir: string, options: ModelProcessOptions = {}): Promise<ModelProcess> {
    const link = launch(bundleDir, options);
    try {
      return new ModelProcess(bundleDir, options, link, await link.ready());
    } catch (error) {
      await link.end();
      throw error;
    }
  }

  get info() {
    return this.#ready.info;
  }

  get notice(): string | null {
    return this.#ready.notice;
  }

  get pages(): number {
    return this.#ready.pages;
  }

  get maxRows(): number {
    return this.#ready.maxRows;
  }

  get pid(): number | undefined {
    return this.#link.pid;
  }

  async restart(): Promise<void> {
    for (;;) {
      this.#closing.signal.throwIfAborted();
      this.#link.kill();
      const { reason } = this.#link;
      if (this.#starts >= MAX_STARTS) {
        this.#options.onGivenUp?.(reason);
        throw new Error(`the model was started ${MAX_STARTS} times in vain: ${reason}`);
      }
      await sleep(BACKOFF_MS[this.#starts++], undefined, { signal: this.#closing.signal });
      this.#options.onRestart?.(reason);
      this.#link = launch(this.#bundleDir, this.#options);
      try {
        await this.#link.ready();
        return;
      } catch {
        // Its reason is told with the next start.
      }
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#link.end();
  }

  async #run(items: readonly RunnerItem[]): Promise<PassResult> {
    const result = await this.#link.run(items, this.#options.hangMs ?? HANG_MS);
    this.#starts = 0;
    return result;
  }
}

/** A process that begins to load the model. */
function launch(bundleDir: string, options: ModelProcessOptions): Link {
  const { onRestart: _told, onGivenUp: _gone, hangMs: _hang, ...load } = options;
  const child = fork(fileURLToPath(new URL("./child.ts", import.meta.url)), [], {
    serialization: "advanced",
    execArgv: [],
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const link = new Link(child);
  link.send({ op: "load", bundleDir, options: load });
  return link;
}

/** The channel to one process. After the first failure nothing more comes of it. */
class Link {
  readonly #child: ChildProcess;
  readonly #gone: Promise<void>;
  #waiting: { readonly resolve: (message: FromModel) => void; readonly reject: (error: Error) => void } | null = null;
  #failure: string | null = null;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.#gone = guard(child);
    child.on("message", (message: FromModel) => {
      if (message.op === "failed") this.#fail(message.message);
      else this.#settle()?.resolve(message);
    });
    child.on("error", (error) => this.#fail(error.message));
    child.on("exit", (code, signal) => this.#fail(`the model's process ended (${signal ?? `code ${code}`})`));
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Why it was lost. */
  get reason(): string {
    return this.#failure ?? "unknown";
  }

  send(message: ToModel): void {
    // What is sent to a process that has ended is lost with it; the next `run` tells.
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  async ready(): Promise<Ready> {
    const message = await this.#answer(LOAD_MS, "the model took too long to load");
    assert(message.op === "ready", "the first message of a process");
    return message;
  }

  async run(items: readonly RunnerItem[], ms: number): Promise<PassResult> {
    this.send({ op: "run", items });
    const message = await this.#answer(ms, "the model's process does not answer");
    assert(message.op === "done", "an answer to a pass");
    return message.result;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  async end(): Promise<void> {
    // It has nothing to save, and a native call could not be ended otherwise.
    this.kill();
    await this.#gone;
  }

  async #answer(ms: number, late: string): Promise<FromModel> {
    const { promise, resolve, reject } = Promise.withResolvers<FromModel>();
    if (this.#failure !== null) throw new RunnerLost(this.#failure);
    this.#waiting = { resolve, reject };
    const timer = setTimeout(() => this.#fail(late), ms);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  #settle() {
    const waiting = this.#waiting;
    this.#waiting = null;
    return waiting;
  }

  #fail(reason: string): void {
    this.#failure ??= reason;
    this.#settle()?.reject(new RunnerLost(this.#failure));
  }
}
