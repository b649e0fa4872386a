import { assert } from "../shared/assert.ts";
import { type DraftTree, EMPTY_TREE } from "../shared/draft-tree.ts";
import type { OpenSpec, TokenLogProbs } from "../shared/engine.ts";
import { StepError } from "../shared/errors.ts";
import type { NodeIndex, TokenId } from "../shared/ids.ts";
import { EMPTY_LATTICE, type Lattice, narrowLattice } from "../shared/lattice.ts";
import { CopySources, mixCopies } from "./copy-heads.ts";
import { InputBuilder } from "./inputs.ts";
import { KvBudget, KvCache } from "./kv-cache.ts";
import { tokenLogProbs } from "./log-probs.ts";
import type { Forward, HeadsOutput, Model } from "./model.ts";
import { LocalRescorer, type NeuralModel } from "./neural.ts";
import { sampleToken } from "./sampler.ts";
import { longestPath } from "./verify.ts";

/** What a session keeps to for its whole life. */
export type RunnerSpec = Pick<OpenSpec, "heads" | "topK" | "sampling" | "logProbs" | "neural">;

export interface Outcome {
  readonly accepted: readonly NodeIndex[];
  readonly bonus: TokenId;
  readonly lattice: Lattice;
  readonly logProbs: readonly TokenLogProbs[] | null;
  /** Time inside the graphs, ms. */
  readonly modelMs: number;
}

/** Where the model and its caches live: here, or in another thread. Calls come one at a time, but for `close`. */
export interface Runner {
  /** Bytes of all key/value caches. */
  readonly kvBytes: number;
  /** Makes a session; `id` must be new. Rejects with StepError "overloaded" where there is no memory for it. */
  open(id: number, spec: RunnerSpec): void | Promise<void>;
  /** Runs prompt tokens; the outcome comes with the last of them. */
  prefill(id: number, tokens: Uint32Array, last: boolean): Promise<Outcome | null>;
  /** Verifies a well-formed draft whose positions are within the context. */
  step(id: number, draft: DraftTree): Promise<Outcome>;
  close(id: number): void;
}

interface Session {
  readonly spec: RunnerSpec;
  readonly cache: KvCache;
  /** The committed text, for heads that copy from it; null where no head runs or none copies. */
  readonly sources: CopySources | null;
  /** null: the lattices stay as the heads give them. */
  readonly local: LocalRescorer | null;
  /** The newest committed token, not yet run; -1 before the prefill's end. */
  root: TokenId;
}

/** Runs the model on the calling thread. A step is atomic: a session whose call rejects must be closed. */
export class ModelRunner implements Runner {
  readonly #model: Model;
  readonly #budget: KvBudget;
  readonly #inputs = new InputBuilder();
  readonly #sessions = new Map<number, Session>();
  readonly #neural: NeuralModel | null;
  readonly #now: () => number;

  constructor(
    model: Model,
    kvLimitBytes: number,
    neural: NeuralModel | null = null,
    now: () => number = () => performance.now(),
  ) {
    this.#model = model;
    this.#neural = neural;
    this.#budget = new KvBudget(kvLimitBytes);
    this.#now = now;
  }

  get kvBytes(): number {
    return this.#budget.usedBytes;
  }

  open(id: number, spec: RunnerSpec): void {
    assert(!this.#sessions.has(id), "a session's id is new");
    const { shape } = this.#model;
    const sources = spec.heads > 0 && shape.copyHeads !== null ? new CopySources() : null;
    const local = LocalRescorer.for(spec, this.#neural);
    this.#sessions.set(id, { spec, cache: new KvCache(shape, this.#budget), sources, local, root: -1 });
  }

  async prefill(id: number, tokens: Uint32Array, last: boolean): Promise<Outcome | null> {
    const session = this.#session(id);
    const { cache, spec, sources } = session;
    for (const token of tokens) sources?.push(token);
    const inputs = this.#inputs.chain(tokens, cache.length, cache.buffers.capacity);
    const startedAt = this.#now();
    const wanted = { logits: last && needsLogits(spec), hidden: last && spec.heads > 0 };
    const forward = await this.#model.forward(inputs, cache.buffers, wanted);
    const position = cache.length + tokens.length;
    this.#append(id, session, forward, tokens.length, range(tokens.length));
    session.local?.commit(tokens);
    if (!last) return null;
    const { outcome } = await this.#conclude(session, EMPTY_TREE, forward, position, startedAt);
    return outcome;
  }

  async step(id: number, draft: DraftTree): Promise<Outcome> {
    const session = this.#session(id);
    const { cache, spec, root } = session;
    assert(root >= 0, "steps come after the prefill");
    const inputs = this.#inputs.tree(root, draft, cache.length, cache.buffers.capacity);
    const startedAt = this.#now();
    const wanted = { logits: needsLogits(spec), hidden: spec.heads > 0 };
    const forward = await this.#model.forward(inputs, cache.buffers, wanted);
    const { outcome, rows } = await this.#conclude(session, draft, forward, cache.length + 1, startedAt);
    this.#append(id, session, forward, inputs.count, rows);
    return outcome;
  }

  close(id: number): void {
    this.#sessions.get(id)?.cache.release();
    this.#sessions.delete(id);
  }

  /** From the base graph's outputs to a result; `position` is that of the root's successor. */
  async #conclude(session: Session, draft: DraftTree, forward: Forward, position: number, startedAt: number) {
    const { spec } = session;
    const { hiddenWidth } = this.#model.shape;
    let modelMs = this.#now() - startedAt;
    const logProbs: TokenLogProbs[] = [];
    const { accepted, bonus } = longestPath(draft, (node, depth) => {
      const token = this.#choose(forward, node + 1, spec, position + depth);
      if (spec.logProbs !== null) logProbs.push(tokenLogProbs(this.#logits(forward, node + 1), token, spec.logProbs));
      return token;
    });
    let lattice = EMPTY_LATTICE;
    if (spec.heads > 0 && forward.hidden !== null) {
      const row = (accepted.at(-1) ?? -1) + 1;
      const hidden = forward.hidden.subarray(row * hiddenWidth, (row + 1) * hiddenWidth);
      const headsAt = this.#now();
      const output = await this.#model.heads(hidden, bonus);
      const committed = accepted.map((node) => draft.tokens[node]!);
      for (const token of [...committed, bonus]) session.sources?.push(token);
      lattice = narrowLattice(this.#withCopies(output, session.sources), spec.heads, spec.topK);
      session.local?.commit(committed);
      if (session.local !== null) lattice = await session.local.rescore(lattice, bonus);
      modelMs += this.#now() - headsAt;
    }
    session.root = bonus;
    const outcome = { accepted, bonus, lattice, logProbs: spec.logProbs === null ? null : logProbs, modelMs };
    return { outcome, rows: [0, ...accepted.map((node) => node + 1)] };
  }

  #withCopies({ lattice, gate }: HeadsOutput, sources: CopySources | null): Lattice {
    const { copyHeads } = this.#model.shape;
    if (gate === null || copyHeads === null || sources === null) return lattice;
    sources.find();
    return mixCopies(lattice, gate, sources, copyHeads);
  }

  #choose(forward: Forward, row: number, { sampling }: RunnerSpec, position: number): TokenId {
    if (sampling.temperature === 0) return forward.argmax[row]!;
    return sampleToken(this.#logits(forward, row), sampling, position);
  }

  /** [vocab] */
  #logits(forward: Forward, row: number): Float32Array {
    const { vocabSize } = this.#model.shape;
    assert(forward.logits !== null, "logits were fetched");
    return forward.logits.subarray(row * vocabSize, (row + 1) * vocabSize);
  }

  #append(id: number, { cache }: Session, forward: Forward, total: number, rows: readonly number[]): void {
    // Closed while the model ran: its buffers are gone.
    if (this.#sessions.has(id)) cache.append(forward.newKv, total, rows);
  }

  #session(id: number): Session {
    const session = this.#sessions.get(id);
    if (session === undefined) throw new StepError("client_closed", "The session was closed.");
    return session;
  }
}

function needsLogits({ sampling, logProbs }: RunnerSpec): boolean {
  return sampling.temperature > 0 || logProbs !== null;
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
