import { assert } from "../shared/assert.ts";
import { type DraftTree, EMPTY_TREE } from "../shared/draft-tree.ts";
import type { OpenSpec, TokenLogProbs } from "../shared/engine.ts";
import type { Grammars } from "../shared/grammar/grammars.ts";
import type { NodeIndex, TokenId } from "../shared/ids.ts";
import { EMPTY_LATTICE, type Lattice, narrowLattice } from "../shared/lattice.ts";
import { joinRunnersUp, type RunnersUp } from "../shared/runners-up.ts";
import { CopySources, copiedMasses, withCopies } from "./copy-heads.ts";
import type { Forward, Model, Segment } from "./model.ts";
import { LocalRescorer, type NeuralModel } from "./neural.ts";
import { withQuery } from "./query.ts";
import { LogitAdjuster } from "./sampling/adjust.ts";
import { Constraint } from "./sampling/constraint.ts";
import { likeliestBeside, tokenLogProbs } from "./sampling/log-probs.ts";
import { sampleToken } from "./sampling/sampler.ts";
import { longestPath } from "./sampling/verify.ts";

/** What a session keeps to for its whole life. */
export type RunnerSpec = Pick<
  OpenSpec,
  "heads" | "topK" | "sampling" | "logProbs" | "neural" | "answered" | "grammar" | "runnersUp" | "pair"
>;

/** A session as it begins, or as it goes on after its computed part was lost. */
export interface RunnerSession {
  readonly spec: RunnerSpec;
  /** All committed tokens. */
  readonly text: Uint32Array;
  /** Tokens of the prompt; those after it were chosen by the model, the last one not yet run through it. */
  readonly promptTokens: number;
}

/** What a pass does for one session. */
export interface RunnerItem {
  readonly id: number;
  /** Pages that are new to the session's table. */
  readonly pages: readonly number[];
  /** Tokens of the text to run; or a step with the draft to verify. */
  readonly work: { readonly rows: number } | { readonly draft: DraftTree };
  /** Whether a token that is due is followed by a lattice. */
  readonly heads: boolean;
}

export interface Outcome {
  readonly accepted: readonly NodeIndex[];
  readonly bonus: TokenId;
  readonly lattice: Lattice;
  readonly logProbs: readonly TokenLogProbs[] | null;
  /** A row for each of the accepted nodes, and the bonus token's. */
  readonly runnersUp: RunnersUp;
}

export interface PassResult {
  /** One per item; null where no token was due. */
  readonly outcomes: readonly (Outcome | null)[];
  /** Lattices made. */
  readonly lattices: number;
  /** Time of the pass, ms. */
  readonly ms: number;
}

/** Where the model and its cache live: here, or in another process. Calls come one at a time, in order. */
export interface Runner {
  /** `id` is new; the first `cached` tokens lie in `pages` already. */
  open(id: number, session: RunnerSession, pages: readonly number[], cached: number): void;
  /** One pass. Rejects with RunnerLost where the model is gone, and all sessions with it. */
  run(items: readonly RunnerItem[]): Promise<PassResult>;
  close(id: number): void;
}

/** The model ended or hangs; whatever it held is gone. */
export class RunnerLost extends Error {}

interface Session {
  readonly spec: RunnerSpec;
  readonly text: TokenId[];
  readonly pages: number[];
  /** Tokens in the cache. */
  length: number;
  /** Whether the model has chosen the text's last token, which then is the root of the next step. */
  rooted: boolean;
  /** The committed text, for heads that copy from it; null where no head runs or none copies. */
  readonly sources: CopySources | null;
  /** null: tokens are chosen by the logits as they are. */
  readonly adjuster: LogitAdjuster | null;
  /** null: every token may come next. */
  readonly constraint: Constraint | null;
  /** null: the lattices stay as the heads give them. */
  readonly local: LocalRescorer | null;
}

/** Runs the model on the calling thread. */
export class ModelRunner implements Runner {
  readonly #model: Model;
  readonly #sessions = new Map<number, Session>();
  readonly #neural: NeuralModel | null;
  readonly #grammars: Pick<Grammars, "of"> | null;
  readonly #now: () => number;

  /** `grammars` null: sessions have none. */
  constructor(
    model: Model,
    neural: NeuralModel | null = null,
    grammars: Pick<Grammars, "of"> | null = null,
    now: () => number = () => performance.now(),
  ) {
    this.#model = model;
    this.#neural = neural;
    this.#grammars = grammars;
    this.#now = now;
  }

  open(id: number, { spec, text, promptTokens }: RunnerSession, pages: readonly number[], cached: number): void {
    assert(!this.#sessions.has(id), "a session's id is new");
    const { shape } = this.#model;
    const sources = spec.heads > 0 && shape.copyHeads !== null ? new CopySources() : null;
    for (const token of text) sources?.push(token);
    const local = LocalRescorer.for(spec, this.#neural);
    const rooted = text.length > promptTokens;
    local?.commit(rooted ? text.subarray(0, -1) : text);
    const begins = promptTokens - (spec.answered ?? 0);
    const adjuster = LogitAdjuster.for(spec.sampling, text, begins);
    const constraint = this.#constraint(spec, text.subarray(begins));
    const start = { spec, text: [...text], pages: [...pages], length: cached, rooted };
    this.#sessions.set(id, { ...start, sources, adjuster, constraint, local });
  }

  async run(items: readonly RunnerItem[]): Promise<PassResult> {
    const startedAt = this.#now();
    const sessions = items.map(({ id }) => this.#session(id));
    for (const [i, { pages }] of items.entries()) sessions[i]!.pages.push(...pages);
    const segments = items.map((item, i) => segmentOf(item, sessions[i]!));
    const forward = await this.#model.forward(segments);
    const chosen: (Chosen | null)[] = [];
    let row = 0;
    for (const [i, segment] of segments.entries()) {
      const wanted = segment.wanted === "all" ? segment.tokens.length : segment.wanted === "last" ? 1 : 0;
      const choice = wanted === 0 ? null : choose(items[i]!, sessions[i]!, forward, row);
      chosen.push(choice);
      this.#commit(sessions[i]!, segment, choice);
      row += wanted;
    }
    const lattices = await this.#lattices(items, sessions, chosen);
    const outcomes = chosen.map((choice, i): Outcome | null => {
      if (choice === null) return null;
      const { accepted, bonus, logProbs, runnersUp } = choice;
      return { accepted, bonus, lattice: lattices[i] ?? EMPTY_LATTICE, logProbs, runnersUp };
    });
    const made = lattices.filter((lattice) => lattice !== null).length;
    return { outcomes, lattices: made, ms: this.#now() - startedAt };
  }

  #constraint({ grammar }: RunnerSpec, answered: Uint32Array): Constraint | null {
    if (grammar === undefined) return null;
    assert(this.#grammars !== null, "a model whose tokens are known");
    return new Constraint(this.#grammars.of(grammar), answered);
  }

  close(id: number): void {
    this.#sessions.delete(id);
  }

  /** Takes over what a pass has computed and chosen. */
  #commit(session: Session, segment: Segment, choice: Chosen | null): void {
    if (choice === null || !session.rooted) session.length += segment.tokens.length;
    else {
      const rows = [0, ...choice.accepted.map((node) => node + 1)];
      this.#model.keep(segment, rows);
      session.length += rows.length;
    }
    if (choice === null) return;
    const { committed, bonus } = choice;
    session.rooted = true;
    session.local?.commit(committed);
    for (const token of [...committed, bonus]) {
      session.text.push(token);
      session.sources?.push(token);
    }
  }

  /** One call of the heads for all sessions that want a lattice; null for the others. */
  async #lattices(
    items: readonly RunnerItem[],
    sessions: readonly Session[],
    chosen: readonly (Chosen | null)[],
  ): Promise<(Lattice | null)[]> {
    const wanting = chosen.flatMap((choice, i) => {
      return choice === null || !items[i]!.heads || sessions[i]!.spec.heads === 0 ? [] : [{ i, ...choice }];
    });
    const lattices: (Lattice | null)[] = chosen.map(() => null);
    for (const [i, choice] of chosen.entries()) {
      // What is not rescored now has to be read before what is rescored next.
      if (choice !== null && !wanting.some((one) => one.i === i)) sessions[i]!.local?.commit([choice.bonus]);
    }
    if (wanting.length === 0) return lattices;
    const outputs = await this.#model.heads(wanting);
    for (const [n, { i, bonus }] of wanting.entries()) {
      const { spec, sources, local } = sessions[i]!;
      const output = { ...outputs[n]!, lattice: withQuery(outputs[n]!, spec) };
      const { copyHeads } = this.#model.shape;
      const lattice = narrowLattice(withCopies(output, sources, copyHeads), spec.heads, spec.topK);
      lattices[i] = (await local?.rescore(lattice, bonus, copiedMasses(lattice, sources, copyHeads))) ?? lattice;
    }
    return lattices;
  }

  #session(id: number): Session {
    const session = this.#sessions.get(id);
    assert(session !== undefined, "an open session");
    return session;
  }
}

/** What the model chose after one segment. */
interface Chosen {
  /** Number of the last accepted row among the wanted ones. */
  readonly row: number;
  readonly accepted: readonly NodeIndex[];
  /** The accepted nodes' tokens. */
  readonly committed: readonly TokenId[];
  readonly bonus: TokenId;
  readonly logProbs: readonly TokenLogProbs[] | null;
  readonly runnersUp: RunnersUp;
}

function segmentOf(
  { work }: RunnerItem,
  { spec, text, pages, length, rooted, adjuster, constraint }: Session,
): Segment {
  const table = Int32Array.from(pages);
  const plain = spec.sampling.temperature === 0 && adjuster === null && constraint === null;
  const logits = !plain || spec.logProbs !== null || countOf(spec) > 0;
  if ("rows" in work) {
    const end = length + work.rows;
    const due = !rooted && end === text.length;
    assert(work.rows > 0 && end <= text.length - (rooted ? 1 : 0), "rows of the text");
    const tokens = Uint32Array.from(text.slice(length, end));
    return { length, pages: table, tokens, parents: null, wanted: due ? "last" : "none", logits };
  }
  assert(rooted && length === text.length - 1, "steps come after all of the text");
  const { tokens, parents } = work.draft;
  const rows = Uint32Array.of(text.at(-1)!, ...tokens);
  const before = Int16Array.of(-1, ...parents.map((parent) => parent + 1));
  return { length, pages: table, tokens: rows, parents: before, wanted: "all", logits };
}

/** The path of `work` that the model itself would have taken; `first` is the number of the segment's first wanted row. */
function choose({ work }: RunnerItem, session: Session, forward: Forward, first: number): Chosen {
  const { spec, text } = session;
  const draft = "draft" in work ? work.draft : EMPTY_TREE;
  const logProbs: TokenLogProbs[] = [];
  const runnersUp: RunnersUp[] = [];
  const { accepted, bonus } = longestPath(draft, (node, depth) => {
    const row = first + node + 1;
    const token = tokenAfter(forward, row, session, text.length + depth);
    if (spec.logProbs !== null) logProbs.push(tokenLogProbs(forward.logits(row), token, spec.logProbs));
    if (countOf(spec) > 0) runnersUp.push(likeliestBeside(forward.logits(row), token, countOf(spec)));
    return token;
  });
  const last = first + (accepted.at(-1) ?? -1) + 1;
  const committed = accepted.map((node) => draft.tokens[node]!);
  const asked = { logProbs: spec.logProbs === null ? null : logProbs, runnersUp: joinRunnersUp(runnersUp) };
  return { row: last, accepted, committed, bonus, ...asked };
}

function countOf({ runnersUp = 0 }: RunnerSpec): number {
  return runnersUp;
}

/** The model's own token after a row. Asked for along a path only: what is chosen becomes part of the text. */
function tokenAfter(forward: Forward, row: number, session: Session, position: number): TokenId {
  const { adjuster, constraint } = session;
  const forced = constraint?.forced ?? -1;
  const token = forced >= 0 ? forced : chosenToken(forward, row, session, position);
  adjuster?.push(token);
  constraint?.push(token);
  return token;
}

function chosenToken(
  forward: Forward,
  row: number,
  { spec, adjuster, constraint }: Session,
  position: number,
): TokenId {
  const plain = adjuster === null && spec.sampling.temperature === 0;
  // The best of all tokens is the best of those that are allowed, if it is one of them.
  if (plain && (constraint === null || constraint.allows(forward.argmax[row]!))) return forward.argmax[row]!;
  const logits = forward.logits(row);
  const adjusted = adjuster === null ? logits : adjuster.adjust(logits);
  return sampleToken(constraint === null ? adjusted : constraint.masked(adjusted), spec.sampling, position);
}
