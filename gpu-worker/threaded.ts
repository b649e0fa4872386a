import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { DraftTree } from "../shared/draft-tree.ts";
import { StepError } from "../shared/errors.ts";
import { type EngineOptions, SessionEngine } from "./engine.ts";
import type { RunnerOptions } from "./local.ts";
import type { FromThread, ThreadData, ToThread } from "./onnx/protocol.ts";
import type { Outcome, Runner, RunnerSpec } from "./runner.ts";

export type ThreadOptions = RunnerOptions &
  EngineOptions & {
    /** Told once when the thread ends without having been asked to. */
    readonly onDeath?: (error: Error) => void;
  };

/** Longest wait for the thread to finish its call and end; beyond it nothing is lost by force, ms. */
const END_MS = 10_000;

interface Call {
  readonly resolve: (outcome: Outcome | null) => void;
  readonly reject: (error: Error) => void;
}

/** A Runner in another thread. */
class RemoteRunner implements Runner {
  readonly #worker: Worker;
  readonly #calls = new Map<number, Call>();
  #nextCall = 0;
  #dead = false;
  kvBytes = 0;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.on("message", (message: FromThread) => this.#receive(message));
    worker.on("exit", () => {
      this.#dead = true;
      for (const { reject } of this.#calls.values()) reject(gone());
      this.#calls.clear();
    });
  }

  async open(id: number, spec: RunnerSpec): Promise<void> {
    await this.#ask((call) => ({ op: "open", call, id, spec }));
  }

  prefill(id: number, tokens: Uint32Array, last: boolean): Promise<Outcome | null> {
    return this.#ask((call) => ({ op: "prefill", call, id, tokens, last }));
  }

  async step(id: number, draft: DraftTree): Promise<Outcome> {
    const outcome = await this.#ask((call) => ({ op: "step", call, id, draft }));
    if (outcome === null) throw new Error("a step has an outcome");
    return outcome;
  }

  close(id: number): void {
    this.#send({ op: "close", id });
  }

  #ask(message: (call: number) => ToThread): Promise<Outcome | null> {
    const { promise, resolve, reject } = Promise.withResolvers<Outcome | null>();
    if (this.#dead) {
      reject(gone());
      return promise;
    }
    const call = this.#nextCall++;
    this.#calls.set(call, { resolve, reject });
    this.#send(message(call));
    return promise;
  }

  #send(message: ToThread): void {
    if (!this.#dead) this.#worker.postMessage(message);
  }

  #receive(message: FromThread): void {
    if (message.op === "ready") return;
    this.kvBytes = message.kvBytes;
    if (message.op === "closed") return;
    const call = this.#calls.get(message.call);
    this.#calls.delete(message.call);
    if (message.op === "done") call?.resolve(message.outcome);
    else
      call?.reject(message.code === null ? new Error(message.message) : new StepError(message.code, message.message));
  }
}

function gone(): StepError {
  return new StepError("engine_unavailable", "The model engine is not available.");
}

export class ThreadEngine extends SessionEngine {
  readonly #worker: Worker;
  readonly notice: string | null;

  constructor(worker: Worker, ready: Extract<FromThread, { op: "ready" }>, options: EngineOptions) {
    super(new RemoteRunner(worker), ready.info, options);
    this.#worker = worker;
    this.notice = ready.notice;
  }

  override async close(): Promise<void> {
    await super.close();
    this.#worker.removeAllListeners("error");
    const ended = once(this.#worker, "exit");
    this.#worker.postMessage({ op: "end" } satisfies ToThread);
    const stuck = setTimeout(() => void this.#worker.terminate(), END_MS);
    await ended;
    clearTimeout(stuck);
  }
}

/** The engine with its model in a thread of its own; the calling thread stays free for sockets. Rejects with what kept it from starting. */
export async function createThreadEngine(bundleDir: string, options: ThreadOptions = {}): Promise<ThreadEngine> {
  const { onDeath, now, ...rest } = options;
  const data: ThreadData = { bundleDir, options: rest };
  const worker = new Worker(new URL("./onnx/thread.ts", import.meta.url), { workerData: data, execArgv: [] });
  const [ready] = (await once(worker, "message")) as [FromThread];
  if (ready.op !== "ready") throw new Error("the model's thread did not start");
  worker.on("error", (error) => onDeath?.(error instanceof Error ? error : new Error(String(error))));
  return new ThreadEngine(worker, ready, now === undefined ? rest : { ...rest, now });
}
