import { type DraftTree, depths, treeFault } from "../shared/draft-tree.ts";
import type { BundleInfo, CancelSignal, OpenSpec, StepEngine, StepResult, StepSession } from "../shared/engine.ts";
import { StepError } from "../shared/errors.ts";
import { closedError, ForwardQueue, type Turn } from "./queue.ts";
import type { Outcome, Runner } from "./runner.ts";

export interface EngineLimits {
  readonly maxSessions: number;
  /** Turns waiting at which new sessions are refused. */
  readonly maxWaiting: number;
  /** Longest wait for one turn, ms. */
  readonly maxWaitMs: number;
  /** A session that asks for nothing this long is closed, ms. */
  readonly idleMs: number;
  /** Prompt tokens run in one turn. */
  readonly chunkTokens: number;
}

export const ENGINE_LIMITS: EngineLimits = {
  maxSessions: 32,
  maxWaiting: 16,
  maxWaitMs: 30_000,
  idleMs: 300_000,
  chunkTokens: 128,
};

export interface EngineOptions extends Partial<EngineLimits> {
  /** ms, any origin. */
  readonly now?: () => number;
}

/** Sessions, order and limits before a Runner. */
export class SessionEngine implements StepEngine {
  readonly bundle: BundleInfo;
  readonly #runner: Runner;
  readonly #limits: EngineLimits;
  readonly #now: () => number;
  readonly #queue: ForwardQueue;
  readonly #sessions = new Set<EngineSession>();
  #nextId = 0;

  constructor(runner: Runner, bundle: BundleInfo, options: EngineOptions = {}) {
    const { now = () => performance.now(), ...limits } = options;
    this.bundle = bundle;
    this.#runner = runner;
    this.#limits = { ...ENGINE_LIMITS, ...limits };
    this.#now = now;
    this.#queue = new ForwardQueue(this.#limits.maxWaitMs, now);
  }

  get openSessions(): number {
    return this.#sessions.size;
  }

  get kvBytes(): number {
    return this.#runner.kvBytes;
  }

  async open(spec: OpenSpec, signal: CancelSignal): Promise<StepSession> {
    refuseSpec(spec, this.bundle);
    if (signal.aborted) throw closedError();
    this.expire();
    if (this.#sessions.size >= this.#limits.maxSessions || this.#queue.waiting >= this.#limits.maxWaiting) {
      throw new StepError("overloaded", "The engine is busy.");
    }
    const session = new EngineSession(this.#nextId++, {
      runner: this.#runner,
      queue: this.#queue,
      bundle: this.bundle,
      now: this.#now,
      onClose: (closed) => this.#sessions.delete(closed),
    });
    this.#sessions.add(session);
    await session.prefill(spec, this.#limits.chunkTokens, signal);
    return session;
  }

  /** Closes the sessions that have been idle for too long; called now and then. */
  expire(): void {
    const before = this.#now() - this.#limits.idleMs;
    for (const session of this.#sessions) if (session.idleSince < before) session.close();
  }

  async close(): Promise<void> {
    for (const session of this.#sessions) session.close();
  }
}

function refuseSpec({ model, prompt, heads, topK, neural }: OpenSpec, bundle: BundleInfo): void {
  const invalid = (param: string, what: string) => new StepError("invalid_request", what, param);
  if (model !== bundle.model) throw new StepError("model_not_found", `This engine does not serve "${model}".`, "model");
  if (prompt.length === 0) throw invalid("prompt", "The prompt is empty.");
  if (prompt.length > bundle.contextTokens) throw contextExceeded(bundle);
  if (prompt.some((token) => token >= bundle.vocabSize)) throw invalid("prompt", "A token is not in the vocabulary.");
  if (heads > bundle.latticeHeads) throw invalid("heads", `This model has ${bundle.latticeHeads} draft heads.`);
  if (heads > 0 && topK > bundle.topK) throw invalid("topK", `The draft heads list ${bundle.topK} candidates.`);
  if (neural !== null && !bundle.neural) throw invalid("neural", "This model has no local rescorer.");
}

function contextExceeded({ contextTokens }: BundleInfo): StepError {
  return new StepError("context_length_exceeded", `The model's context holds ${contextTokens} tokens.`, "prompt");
}

interface SessionParts {
  readonly runner: Runner;
  readonly queue: ForwardQueue;
  readonly bundle: BundleInfo;
  readonly now: () => number;
  readonly onClose: (session: EngineSession) => void;
}

class EngineSession implements StepSession {
  readonly #id: number;
  readonly #parts: SessionParts;
  readonly #closed = new AbortController();
  /** Committed tokens, the bonus token included. */
  #committed = 0;
  #last: { index: number; result: StepResult } | null = null;
  #busy = true;
  #touchedAt: number;
  #opened: StepResult | null = null;

  constructor(id: number, parts: SessionParts) {
    this.#id = id;
    this.#parts = parts;
    this.#touchedAt = parts.now();
  }

  get bundle(): BundleInfo {
    return this.#parts.bundle;
  }

  get opened(): StepResult {
    if (this.#opened === null) throw new Error("the session is not open yet");
    return this.#opened;
  }

  /** When it last had something to do; Infinity while it has. */
  get idleSince(): number {
    return this.#busy ? Infinity : this.#touchedAt;
  }

  async prefill(spec: OpenSpec, chunkTokens: number, signal: CancelSignal): Promise<void> {
    const { runner } = this.#parts;
    this.#opened = await this.#work(signal, async () => {
      const { heads, topK, sampling, logProbs, neural } = spec;
      const opening = runner.open(this.#id, { heads, topK, sampling, logProbs, neural });
      if (opening !== undefined) await opening;
      let queueMs = 0;
      let modelMs = 0;
      for (let from = 0; ; from += chunkTokens) {
        const chunk = spec.prompt.slice(from, from + chunkTokens);
        const last = from + chunkTokens >= spec.prompt.length;
        const turn = await this.#turn(() => runner.prefill(this.#id, chunk, last));
        queueMs += turn.waitedMs;
        modelMs += turn.ranMs;
        if (turn.value !== null) return { outcome: turn.value, queueMs, modelMs };
      }
    });
    this.#committed = spec.prompt.length + 1;
  }

  async step(index: number, draft: DraftTree, signal: CancelSignal): Promise<StepResult> {
    if (this.#closed.signal.aborted) throw closedError();
    if (this.#busy) throw new StepError("bad_frame", "A step is still running.");
    if (this.#last?.index === index) return this.#last.result;
    const expected = (this.#last?.index ?? -1) + 1;
    if (index !== expected) throw new StepError("bad_frame", `Step ${index} in place of step ${expected}.`);
    const { runner, bundle } = this.#parts;
    const fault = treeFault(draft, bundle.vocabSize);
    if (fault !== null) throw new StepError("bad_frame", `Malformed draft tree: ${fault}.`);
    if (this.#committed + Math.max(0, ...depths(draft)) > bundle.contextTokens) throw contextExceeded(bundle);

    const result = await this.#work(signal, async () => {
      const turn = await this.#turn(() => runner.step(this.#id, draft));
      return { outcome: turn.value, queueMs: turn.waitedMs, modelMs: turn.value.modelMs };
    });
    this.#committed += result.accepted.length + 1;
    this.#last = { index, result };
    return result;
  }

  close(): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    this.#parts.runner.close(this.#id);
    this.#parts.onClose(this);
  }

  /** One request of the session; whatever goes wrong in it ends the session. */
  async #work(
    signal: CancelSignal,
    ask: () => Promise<{ outcome: Outcome; queueMs: number; modelMs: number }>,
  ): Promise<StepResult> {
    const startedAt = this.#parts.now();
    const onAbort = () => this.close();
    this.#busy = true;
    signal.addEventListener("abort", onAbort);
    try {
      if (signal.aborted) throw closedError();
      const { outcome, queueMs, modelMs } = await ask();
      const { accepted, bonus, lattice, logProbs } = outcome;
      const engineMs = Math.max(0, this.#parts.now() - startedAt - queueMs - modelMs);
      return { accepted, bonus, lattice, logProbs, timing: { queueMs, modelMs, engineMs } };
    } catch (error) {
      this.close();
      if (error instanceof StepError) throw error;
      console.error(error);
      throw new StepError("engine_failed", "The model failed.");
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#busy = false;
      this.#touchedAt = this.#parts.now();
    }
  }

  async #turn<T>(work: () => Promise<T>): Promise<Turn<T> & { ranMs: number }> {
    const { queue, now } = this.#parts;
    let ranMs = 0;
    const turn = await queue.run(async () => {
      const startedAt = now();
      const value = await work();
      ranMs = now() - startedAt;
      return value;
    }, this.#closed.signal);
    return { ...turn, ranMs };
  }
}
