import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { type DraftTree, treeFault } from "../../shared/draft-tree.ts";
import type {
  BundleInfo,
  CancelSignal,
  Load,
  OpenSpec,
  Sampling,
  StepEngine,
  StepResult,
  StepSession,
  TokenLogProbs,
} from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { ROOT } from "../../shared/ids.ts";
import { EMPTY_LATTICE } from "../../shared/lattice.ts";
import { ToyModel, type ToyOptions } from "./fake-model.ts";

export interface FakeOptions extends ToyOptions {
  readonly bundle?: Partial<BundleInfo>;
  /** Every call takes this long, ms. */
  readonly stepMs?: number;
  /** But opening a session this long, ms. */
  readonly openMs?: number;
  /** Lets that time pass; rejects when `signal` aborts. Real time where left out. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
  readonly maxSessions?: number;
  /** Drafted nodes less likely than this, in 255ths, are not verified unless the caller insists. */
  readonly threshold?: number;
}

const FAKE_BUNDLE: BundleInfo = {
  model: "fake",
  tokenizerHash: "00",
  vocabSize: 48,
  contextTokens: 512,
  latticeHeads: 6,
  topK: 8,
  provider: "fake",
  costs: { pass: 4.5, row: 0.75, wanted: 0.0625, context: 0.125, heads: 0.25 },
  neural: true,
  pair: true,
};

/** A StepEngine over a toy model, for tests of all that lies above the model. Everything follows from the options. */
export interface FakeEngine extends StepEngine {
  readonly bundle: BundleInfo;
  readonly load: Load;
  readonly openSessions: number;
  /** The toy model's choice after `tokens`, for tests that want to know what must come. */
  next(tokens: readonly number[], sampling?: Sampling): number;
}

const GREEDY: Sampling = { temperature: 0, topP: 1, seed: 0 };

/** Texts that are remembered, and what they are shared in. */
const TEXTS = 64;
const PAGE = 16;

/**
 * Verifies naively: asks the toy model what follows each whole token sequence. Shares no code with
 * gpu-worker/sampling/verify.ts or sampler.ts.
 */
export function createFakeEngine(options: FakeOptions = {}): FakeEngine {
  const bundle: BundleInfo = { ...FAKE_BUNDLE, ...options.bundle };
  const { stepMs = 0, openMs = stepMs, maxSessions = Infinity, threshold = 0, wait = realTime } = options;
  const model = new ToyModel(bundle.vocabSize, options);
  const open = new Set<FakeSession>();
  const texts: Text[] = [];
  const load = (): Load => {
    const tokens = [...open].reduce((sum, session) => sum + session.tokens.length, 0);
    const kvUsed = Math.min(1, tokens / (TEXTS * bundle.contextTokens));
    return { running: open.size, waiting: 0, kvUsed, passMs: stepMs };
  };
  return {
    bundle,
    get load() {
      return load();
    },
    get openSessions() {
      return open.size;
    },
    next: (tokens, sampling = GREEDY) => model.choose(tokens, sampling),
    async open(spec, signal) {
      refuseSpec(spec, bundle);
      if (open.size >= maxSessions) throw new StepError("overloaded", "All sessions are taken.", null, 1);
      const cachedTokens = commonTokens(texts, spec);
      const session = new FakeSession(
        { model, bundle, spec, stepMs, openMs, threshold, load, cachedTokens, wait },
        () => open.delete(session),
      );
      open.add(session);
      texts.push({ tenant: spec.tenant, tokens: session.tokens });
      if (texts.length > TEXTS) texts.shift();
      try {
        await session.start(signal);
        return session;
      } catch (error) {
        open.delete(session);
        throw error;
      }
    },
  };
}

interface Text {
  readonly tenant: string;
  readonly tokens: readonly number[];
}

/** How much of a prompt some text of its tenant begins with, in whole pages; the last token is never among it. */
function commonTokens(texts: readonly Text[], { prompt, tenant }: OpenSpec): number {
  const common = texts
    .filter((text) => text.tenant === tenant)
    .map(({ tokens }) => {
      // A text's own last token has not been run.
      const most = Math.min(prompt.length, tokens.length) - 1;
      let same = 0;
      while (same < most && prompt[same] === tokens[same]) same++;
      return same - (same % PAGE);
    });
  return Math.max(0, ...common);
}

function refuseSpec(spec: OpenSpec, bundle: BundleInfo): void {
  const invalid = (param: string) => new StepError("invalid_request", `${param} is out of range.`, param);
  if (spec.model !== bundle.model) throw new StepError("model_not_found", `No model ${spec.model} here.`, "model");
  if (spec.prompt.length === 0) throw invalid("prompt");
  if (spec.prompt.length > bundle.contextTokens) throw tooLong();
  if (spec.prompt.some((token) => token >= bundle.vocabSize)) throw invalid("prompt");
  if (spec.heads > bundle.latticeHeads) throw invalid("heads");
  if (spec.heads > 0 && spec.topK > bundle.topK) throw invalid("topK");
  if (spec.neural !== null && !bundle.neural) throw invalid("neural");
  if (spec.pair === true && bundle.pair !== true) throw invalid("pair");
}

function tooLong(): StepError {
  return new StepError("context_length_exceeded", "The text is longer than the model's context.", "prompt");
}

interface SessionParts {
  readonly model: ToyModel;
  readonly bundle: BundleInfo;
  readonly spec: OpenSpec;
  readonly stepMs: number;
  readonly openMs: number;
  readonly threshold: number;
  readonly load: () => Load;
  readonly cachedTokens: number;
  readonly wait: (ms: number, signal: AbortSignal) => Promise<unknown>;
}

class FakeSession implements StepSession {
  readonly tokens: number[];
  readonly #parts: SessionParts;
  readonly #onClose: () => void;
  readonly #closed = new AbortController();
  #steps = 0;
  opened!: StepResult;

  constructor(parts: SessionParts, onClose: () => void) {
    this.#parts = parts;
    this.tokens = [...parts.spec.prompt];
    this.#onClose = onClose;
  }

  async start(signal: CancelSignal): Promise<void> {
    this.opened = await this.#commit([], [], signal, this.#parts.openMs);
  }

  get bundle(): BundleInfo {
    return this.#parts.bundle;
  }

  get cachedTokens(): number {
    return this.#parts.cachedTokens;
  }

  async step(index: number, draft: DraftTree, signal: CancelSignal): Promise<StepResult> {
    if (this.#closed.signal.aborted) throw cancelled();
    if (index !== this.#steps) throw new StepError("bad_frame", "Steps come in order.");
    const { bundle, model, spec } = this.#parts;
    const fault = treeFault(draft, bundle.vocabSize);
    if (fault !== null) throw new StepError("bad_frame", fault);
    const paths = Array.from(draft.tokens, (_, node) => pathTo(draft, node));
    const longest = Math.max(0, ...paths.map((path) => path.length));
    if (this.tokens.length + longest > bundle.contextTokens) throw tooLong();
    this.#steps++;

    const accepted: number[] = [];
    const path: number[] = [];
    for (;;) {
      const wanted = [...path, model.choose([...this.tokens, ...path], spec.sampling)];
      const node = paths.findIndex((candidate) => candidate.join() === wanted.join());
      if (node < 0 || draft.chances[node]! < this.#threshold) break;
      accepted.push(node);
      path.push(wanted.at(-1)!);
    }
    return await this.#commit(accepted, path, signal);
  }

  close(): void {
    this.#closed.abort();
    this.#onClose();
  }

  get #threshold(): number {
    return this.#parts.spec.fixed ? 0 : this.#parts.threshold;
  }

  async #commit(
    accepted: number[],
    path: number[],
    signal: CancelSignal,
    ms = this.#parts.stepMs,
  ): Promise<StepResult> {
    const { model, bundle, spec } = this.#parts;
    await this.#work(ms, signal);
    const logProbs: TokenLogProbs[] = [];
    const bonus = model.choose([...this.tokens, ...path], spec.sampling);
    for (const token of [...path, bonus]) {
      if (spec.logProbs !== null) logProbs.push(model.logProbs(this.tokens, token, spec.logProbs));
      this.tokens.push(token);
    }
    const k = Math.min(spec.topK, bundle.topK);
    return {
      accepted,
      bonus,
      lattice: spec.heads === 0 ? EMPTY_LATTICE : model.lattice(this.tokens, k, spec),
      logProbs: spec.logProbs === null ? null : logProbs,
      threshold: this.#threshold,
      timing: { queueMs: 0, modelMs: ms, engineMs: 0 },
      load: this.#parts.load(),
    };
  }

  async #work(ms: number, signal: CancelSignal): Promise<void> {
    const onAbort = () => this.close();
    signal.addEventListener("abort", onAbort);
    try {
      if (signal.aborted) this.close();
      this.#closed.signal.throwIfAborted();
      await this.#parts.wait(ms, this.#closed.signal);
    } catch {
      throw cancelled();
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}

function realTime(ms: number, signal: AbortSignal): Promise<unknown> {
  return ms > 0 ? sleep(ms, undefined, { signal }) : nextTurn(undefined, { signal });
}

function cancelled(): StepError {
  return new StepError("client_closed", "The session was closed.");
}

function pathTo(tree: DraftTree, node: number): number[] {
  const parent = tree.parents[node]!;
  return [...(parent === ROOT ? [] : pathTo(tree, parent)), tree.tokens[node]!];
}
