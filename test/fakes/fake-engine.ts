import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { type DraftTree, treeFault } from "../../shared/draft-tree.ts";
import type {
  BundleInfo,
  CancelSignal,
  OpenSpec,
  Sampling,
  StepEngine,
  StepResult,
  StepSession,
  TokenLogProbs,
} from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { ROOT } from "../../shared/ids.ts";
import { createLattice, EMPTY_LATTICE, type Lattice } from "../../shared/lattice.ts";
import { Random } from "../helpers/random.ts";

export interface FakeOptions {
  readonly bundle?: Partial<BundleInfo>;
  /** Another seed is another model. */
  readonly seed?: number;
  /** The next token depends on this many last ones. */
  readonly memory?: number;
  /** How often a lattice row lists the token that will really come; elsewhere it lists others. */
  readonly skill?: number;
  /** Where it is listed, it is among the first `ranks`. */
  readonly ranks?: number;
  /** Every call takes this long, ms. */
  readonly stepMs?: number;
  readonly maxSessions?: number;
}

export const FAKE_BUNDLE: BundleInfo = {
  model: "fake",
  tokenizerHash: "00",
  vocabSize: 48,
  contextTokens: 512,
  latticeHeads: 6,
  topK: 8,
  provider: "fake",
  costCurve: [
    [1, 5],
    [8, 9],
    [32, 30],
  ],
  neural: true,
};

/** A StepEngine over a toy model, for tests of all that lies above the model. Everything follows from the options. */
export interface FakeEngine extends StepEngine {
  readonly bundle: BundleInfo;
  readonly openSessions: number;
  /** The toy model's choice after `tokens`, for tests that want to know what must come. */
  next(tokens: readonly number[], sampling?: Sampling): number;
}

const GREEDY: Sampling = { temperature: 0, topP: 1, seed: 0 };

/**
 * Verifies naively: asks the toy model what follows each whole token sequence. Shares no code with
 * gpu-worker/verify.ts or sampler.ts.
 */
export function createFakeEngine(options: FakeOptions = {}): FakeEngine {
  const bundle: BundleInfo = { ...FAKE_BUNDLE, ...options.bundle };
  const model = new ToyModel(bundle.vocabSize, options);
  const open = new Set<object>();
  return {
    bundle,
    get openSessions() {
      return open.size;
    },
    next: (tokens, sampling = GREEDY) => model.choose(tokens, sampling),
    async open(spec, signal) {
      refuseSpec(spec, bundle);
      if (open.size >= (options.maxSessions ?? Infinity)) throw new StepError("overloaded", "All sessions are taken.");
      const owner = {};
      open.add(owner);
      try {
        return await FakeSession.open({ model, bundle, spec, stepMs: options.stepMs ?? 0 }, signal, () =>
          open.delete(owner),
        );
      } catch (error) {
        open.delete(owner);
        throw error;
      }
    },
  };
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
}

function tooLong(): StepError {
  return new StepError("context_length_exceeded", "The text is longer than the model's context.", "prompt");
}

interface SessionParts {
  readonly model: ToyModel;
  readonly bundle: BundleInfo;
  readonly spec: OpenSpec;
  readonly stepMs: number;
}

class FakeSession implements StepSession {
  readonly #parts: SessionParts;
  readonly #tokens: number[];
  readonly #onClose: () => void;
  readonly #closed = new AbortController();
  #last: { index: number; result: StepResult } | null = null;
  opened!: StepResult;

  constructor(parts: SessionParts, onClose: () => void) {
    this.#parts = parts;
    this.#tokens = [...parts.spec.prompt];
    this.#onClose = onClose;
  }

  static async open(parts: SessionParts, signal: CancelSignal, onClose: () => void): Promise<FakeSession> {
    const session = new FakeSession(parts, onClose);
    session.opened = await session.#commit([], [], signal);
    return session;
  }

  get bundle(): BundleInfo {
    return this.#parts.bundle;
  }

  async step(index: number, draft: DraftTree, signal: CancelSignal): Promise<StepResult> {
    if (this.#closed.signal.aborted) throw cancelled();
    if (this.#last?.index === index) return this.#last.result;
    if (index !== (this.#last?.index ?? -1) + 1) throw new StepError("bad_frame", "Steps come in order.");
    const { bundle, model, spec } = this.#parts;
    const fault = treeFault(draft, bundle.vocabSize);
    if (fault !== null) throw new StepError("bad_frame", fault);
    const paths = Array.from(draft.tokens, (_, node) => pathTo(draft, node));
    const longest = Math.max(0, ...paths.map((path) => path.length));
    if (this.#tokens.length + longest > bundle.contextTokens) throw tooLong();

    const accepted: number[] = [];
    const path: number[] = [];
    for (;;) {
      const wanted = [...path, model.choose([...this.#tokens, ...path], spec.sampling)];
      const node = paths.findIndex((candidate) => candidate.join() === wanted.join());
      if (node < 0) break;
      accepted.push(node);
      path.push(wanted.at(-1)!);
    }
    const result = await this.#commit(accepted, path, signal);
    this.#last = { index, result };
    return result;
  }

  close(): void {
    this.#closed.abort();
    this.#onClose();
  }

  async #commit(accepted: number[], path: number[], signal: CancelSignal): Promise<StepResult> {
    const { model, bundle, spec, stepMs } = this.#parts;
    await this.#work(stepMs, signal);
    const logProbs: TokenLogProbs[] = [];
    const bonus = model.choose([...this.#tokens, ...path], spec.sampling);
    for (const token of [...path, bonus]) {
      if (spec.logProbs !== null) logProbs.push(model.logProbs(this.#tokens, token, spec.logProbs));
      this.#tokens.push(token);
    }
    const k = Math.min(spec.topK, bundle.topK);
    return {
      accepted,
      bonus,
      lattice: spec.heads === 0 ? EMPTY_LATTICE : model.lattice(this.#tokens, k, spec),
      logProbs: spec.logProbs === null ? null : logProbs,
      timing: { queueMs: 0, modelMs: stepMs, engineMs: 0 },
    };
  }

  async #work(ms: number, signal: CancelSignal): Promise<void> {
    const onAbort = () => this.close();
    signal.addEventListener("abort", onAbort);
    try {
      if (signal.aborted) this.close();
      this.#closed.signal.throwIfAborted();
      const { signal: closed } = this.#closed;
      await (ms > 0 ? sleep(ms, undefined, { signal: closed }) : nextTurn(undefined, { signal: closed }));
    } catch {
      throw cancelled();
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}

function cancelled(): StepError {
  return new StepError("client_closed", "The session was closed.");
}

function pathTo(tree: DraftTree, node: number): number[] {
  const parent = tree.parents[node]!;
  return [...(parent === ROOT ? [] : pathTo(tree, parent)), tree.tokens[node]!];
}

class ToyModel {
  readonly #vocabSize: number;
  readonly #seed: number;
  readonly #memory: number;
  readonly #skill: number;
  readonly #ranks: number;

  constructor(vocabSize: number, { seed = 1, memory = 3, skill = 0.7, ranks = 3 }: FakeOptions) {
    this.#vocabSize = vocabSize;
    this.#seed = seed;
    this.#memory = memory;
    this.#skill = skill;
    this.#ranks = ranks;
  }

  choose(tokens: readonly number[], { temperature, topP, seed }: Sampling): number {
    const logits = this.#logits(tokens);
    if (temperature === 0) return logits.indexOf(Math.max(...logits));
    const probabilities = softmax(logits.map((logit) => logit / temperature));
    const ranked = [...probabilities.keys()].sort((a, b) => probabilities[b]! - probabilities[a]! || a - b);
    const mass = (n: number) => ranked.slice(0, n).reduce((sum, token) => sum + probabilities[token]!, 0);
    let kept = 1;
    while (kept < ranked.length && mass(kept) < topP) kept++;
    const drawn = new Random(seed * 65_537 + tokens.length).unit() * mass(kept);
    let chosen = 0;
    while (chosen < kept - 1 && mass(chosen + 1) <= drawn) chosen++;
    return ranked[chosen]!;
  }

  logProbs(tokens: readonly number[], token: number, count: number): TokenLogProbs {
    const logProbs = softmax(this.#logits(tokens)).map(Math.log);
    const ranked = [...logProbs.keys()].sort((a, b) => logProbs[b]! - logProbs[a]! || a - b).slice(0, count);
    return {
      logProb: Math.fround(logProbs[token]!),
      topTokens: Uint32Array.from(ranked),
      topLogProbs: Float32Array.from(ranked, (id) => logProbs[id]!),
    };
  }

  /**
   * Log-probabilities are multiples of 1/8, which float16 holds exactly. With a local rescorer of any weight the token
   * that will really come is first wherever it is listed.
   */
  lattice(tokens: readonly number[], k: number, { heads, sampling, neural }: OpenSpec): Lattice {
    const draw = new Random(mix(this.#seed + 1, tokens.slice(-4)));
    const ids: number[] = [];
    const logProbs: number[] = [];
    const future = [...tokens];
    for (let row = 0; row < heads; row++) {
      const truth = this.choose(future, sampling);
      future.push(truth);
      const rank = draw.chance(this.#skill) ? draw.int(0, this.#ranks - 1) : k;
      const first = draw.int(0, this.#vocabSize - 1);
      const others = Array.from({ length: k + 1 }, (_, i) => (first + i) % this.#vocabSize).filter((t) => t !== truth);
      const listed = [...others.slice(0, rank), truth, ...others.slice(rank)].slice(0, k);
      if (neural !== null && neural > 0) listed.sort((a, b) => Number(b === truth) - Number(a === truth));
      ids.push(...listed);
      let logProb = 0;
      for (let i = 0; i < k; i++) {
        logProb -= draw.int(1, 12) / 8;
        logProbs.push(logProb);
      }
    }
    return createLattice(heads, k, Uint32Array.from(ids), Float32Array.from(logProbs));
  }

  #logits(tokens: readonly number[]): number[] {
    const draw = new Random(mix(this.#seed, tokens.slice(-this.#memory)));
    return Array.from({ length: this.#vocabSize }, () => draw.unit() * 6);
  }
}

function softmax(logits: readonly number[]): number[] {
  const top = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

function mix(seed: number, values: readonly number[]): number {
  let hash = seed >>> 0;
  for (const value of values) hash = Math.imul(hash ^ (value + 1), 0x01000193) ^ (hash >>> 15);
  return hash >>> 0;
}
