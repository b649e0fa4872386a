import { assert } from "../../shared/assert.ts";
import { type DraftTree, depths, treeFault } from "../../shared/draft-tree.ts";
import type { BundleInfo, CancelSignal, OpenSpec, StepResult, StepSession } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import type { Outcome } from "../runner.ts";
import { LatticeValue } from "./lattice-value.ts";
import { PrefixNames } from "./prefix.ts";
import { Trust } from "./trust.ts";

/** A request of a session's peer that waits for an outcome. */
export interface Request {
  /** null: the first token. */
  readonly draft: DraftTree | null;
  readonly askedAt: number;
  /** Time in passes so far, ms. */
  modelMs: number;
  readonly resolve: (result: StepResult) => void;
  readonly reject: (error: StepError) => void;
}

/** What a session asks of the engine it lives in. */
export interface SessionHost {
  readonly bundle: BundleInfo;
  readonly now: () => number;
  /** Of all sessions: what a new one begins with. */
  readonly lattices: LatticeValue;
  readonly trust: Trust;
  /** The session has a request. */
  wake(session: EngineSession): void;
  closed(session: EngineSession): void;
}

/** How many steps the outcomes of a session's drafts are averaged over. */
const GAIN_STEPS = 16;
/** Promised tokens over which is seen what becomes of them. */
const TRUST_TOKENS = 64;
/** How many steps the time until a peer comes back is averaged over. */
const ABSENCES = 4;
/** A peer is expected until this many times its usual absence. */
const LATE = 1.5;

/** One session: its text, its pages, and the request that waits. */
export class EngineSession implements StepSession {
  readonly id: number;
  readonly spec: OpenSpec;
  /** All committed tokens. */
  readonly text: number[];
  readonly names: PrefixNames;
  /** Page table of the cache. */
  pages: number[] = [];
  /** Tokens in the cache. */
  length = 0;
  /** Pages whose content has been named. */
  named = 0;
  /** Whether the runner knows it, and with these pages. */
  placed = false;
  /** Passes it was part of that the model did not survive. */
  crashes = 0;
  /** Part of the pass that runs now. */
  running = false;
  request: Request | null = null;
  /** Tokens of the prompt that lay in the cache when it began; null before. */
  found: number | null = null;
  readonly lattices: LatticeValue;
  readonly trust: Trust;
  isClosed = false;
  /** When the last request came or was answered. */
  touchedAt: number;
  /** How long its peer takes from an answer to the next request, ms; null before it has come back once. */
  absenceMs: number | null = null;
  opened!: StepResult;
  readonly #host: SessionHost;
  #steps = 0;

  constructor(id: number, spec: OpenSpec, host: SessionHost) {
    this.id = id;
    this.spec = spec;
    this.text = [...spec.prompt];
    this.names = new PrefixNames(spec.tenant);
    this.#host = host;
    this.lattices = new LatticeValue(GAIN_STEPS, host.lattices);
    this.trust = new Trust(TRUST_TOKENS, host.trust);
    this.touchedAt = host.now();
  }

  get bundle(): BundleInfo {
    return this.#host.bundle;
  }

  get cachedTokens(): number {
    return this.found ?? 0;
  }

  /** Whether the model has chosen the last token of the text. */
  get rooted(): boolean {
    return this.text.length > this.spec.prompt.length;
  }

  /** Tokens that have to go through the model before the request can be answered; a step's root is not one. */
  get missing(): number {
    return this.text.length - this.length - (this.rooted ? 1 : 0);
  }

  /** By when its peer is likely to have asked again; null while a request waits, and where nothing is known. */
  get expectedAt(): number | null {
    if (this.request !== null || this.absenceMs === null) return null;
    return this.touchedAt + LATE * this.absenceMs;
  }

  /** The first token. */
  async open(signal: CancelSignal): Promise<void> {
    this.opened = await this.#ask(null, signal);
  }

  async step(index: number, draft: DraftTree, signal: CancelSignal): Promise<StepResult> {
    if (this.isClosed) throw closedError();
    if (this.request !== null) throw new StepError("bad_frame", "A step is still running.");
    if (index !== this.#steps) throw new StepError("bad_frame", `Step ${index} in place of step ${this.#steps}.`);
    const { contextTokens, vocabSize } = this.bundle;
    const fault = treeFault(draft, vocabSize);
    if (fault !== null) throw new StepError("bad_frame", `Malformed draft tree: ${fault}.`);
    if (this.text.length + Math.max(0, ...depths(draft)) > contextTokens) throw contextExceeded(this.bundle);
    this.#steps++;
    return await this.#ask(draft, signal);
  }

  close(): void {
    this.end(closedError());
  }

  /** Closes it; a request that waits is answered with `error`. */
  end(error: StepError): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const { request } = this;
    this.request = null;
    request?.reject(error);
    this.#host.closed(this);
  }

  /** Takes over an outcome: text, averages, and the answer to the request. */
  conclude(
    outcome: Outcome,
    draft: DraftTree | null,
    nodes: readonly number[],
    reply: Pick<StepResult, "threshold" | "load">,
  ): void {
    const committed = outcome.accepted.map((node) => draft!.tokens[node]!);
    this.text.push(...committed, outcome.bonus);
    if (draft !== null) {
      const outcomes = { verified: draft.tokens.length, accepted: committed.length };
      this.#host.lattices.drafted(outcomes, this.lattices.drafted(outcomes));
      for (const trust of [this.trust, this.#host.trust]) trust.observe(draft, outcome.accepted);
    }
    this.lattices.made(outcome.lattice.heads > 0);
    const { request } = this;
    // Closed while the pass ran.
    if (request === null) return;
    this.request = null;
    this.touchedAt = this.#host.now();
    const { modelMs, askedAt, resolve } = request;
    const queueMs = Math.max(0, this.touchedAt - askedAt - modelMs);
    const { bonus, lattice, logProbs, runnersUp } = outcome;
    const accepted = outcome.accepted.map((node) => nodes[node]!);
    resolve({ accepted, bonus, lattice, logProbs, runnersUp, ...reply, timing: { queueMs, modelMs, engineMs: 0 } });
  }

  #ask(draft: DraftTree | null, signal: CancelSignal): Promise<StepResult> {
    const { promise, resolve, reject } = Promise.withResolvers<StepResult>();
    const onAbort = () => this.close();
    signal.addEventListener("abort", onAbort);
    const now = this.#host.now();
    if (this.rooted) {
      const absence = now - this.touchedAt;
      this.absenceMs = this.absenceMs === null ? absence : this.absenceMs + (absence - this.absenceMs) / ABSENCES;
    }
    this.touchedAt = now;
    this.request = { draft, askedAt: this.touchedAt, modelMs: 0, resolve, reject };
    if (signal.aborted) this.close();
    else this.#host.wake(this);
    return promise.finally(() => signal.removeEventListener("abort", onAbort));
  }
}

function closedError(): StepError {
  return new StepError("client_closed", "The session was closed.");
}

function contextExceeded({ contextTokens }: BundleInfo): StepError {
  return new StepError("context_length_exceeded", `The model's context holds ${contextTokens} tokens.`, "prompt");
}

export function refuseSpec(spec: OpenSpec, bundle: BundleInfo): void {
  const { model, prompt, heads, topK, neural, sampling, pair = false } = spec;
  const invalid = (param: string, what: string) => new StepError("invalid_request", what, param);
  if (model !== bundle.model) throw new StepError("model_not_found", `This engine does not serve "${model}".`, "model");
  if (prompt.length === 0) throw invalid("prompt", "The prompt is empty.");
  if (prompt.length > bundle.contextTokens) throw contextExceeded(bundle);
  if (prompt.some((token) => token >= bundle.vocabSize)) throw invalid("prompt", "A token is not in the vocabulary.");
  if (sampling.adjust?.biasTokens.some((token) => token >= bundle.vocabSize)) {
    throw invalid("logit_bias", "A token is not in the vocabulary.");
  }
  if (heads > bundle.latticeHeads) throw invalid("heads", `This model has ${bundle.latticeHeads} draft heads.`);
  if (heads > 0 && topK > bundle.topK) throw invalid("topK", `The draft heads list ${bundle.topK} candidates.`);
  if (neural !== null && !bundle.neural) throw invalid("neural", "This model has no local rescorer.");
  if (pair && bundle.pair !== true) throw invalid("pair", "This model's lattices have no query.");
  assert(heads >= 0 && topK >= 1, "the codec bounds them");
}
