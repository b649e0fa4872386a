import { type DraftTree, EMPTY_TREE, type Pruned, prune } from "../draft-tree.ts";
import type { CancelSignal, StepResult, StepSession } from "../engine.ts";
import type { TokenGrammar } from "../grammar/token-grammar.ts";
import type { TokenId } from "../ids.ts";
import { EMPTY_LATTICE, type Lattice } from "../lattice.ts";
import type { Rescorer } from "../rescore/rescorer.ts";
import { NO_RUNNERS_UP, type RunnersUp, rowsOf } from "../runners-up.ts";
import { advance, type DecodeState, draftDepth, follow, INITIAL_STATE } from "./advance.ts";
import type { Block } from "./block.ts";
import { Drafter } from "./drafter.ts";
import type { DraftingSession, RunEnd } from "./drafting-session.ts";
import { Guide } from "./guide.ts";
import { type Hint, Hints } from "./hints.ts";
import type { DecodeLimits, DraftSize, RunRequest } from "./run-request.ts";

export interface LoopRequest extends DraftSize {
  /** `answered`: tokens at the end of `prompt` that are the answer so far. */
  readonly spec: { readonly prompt: ArrayLike<TokenId>; readonly heads: number; readonly answered?: number };
  /** Of the last tokens of `spec.prompt`, where any are known. */
  readonly runnersUp?: RunnersUp;
  readonly limits: DecodeLimits;
  readonly rescorer: Rescorer;
  /** The grammar by which drafts are made; null or left out: by none. */
  readonly guide?: TokenGrammar | null;
}

/** Decoding of one session, wherever it runs: what has been committed, and the result to go on from. */
export class Loop {
  readonly #session: StepSession;
  readonly #limits: DecodeLimits;
  readonly #rescorer: Rescorer;
  readonly #guide: Guide | null;
  readonly #drafter: Drafter;
  readonly #maxNodes: number;
  /** Tokens that the rescorer has not been told of. */
  readonly #backlog: { readonly tokens: ArrayLike<TokenId>; readonly runnersUp: RunnersUp }[] = [];
  readonly #hints: Hints;
  #length = 0;
  #state: DecodeState = INITIAL_STATE;
  #result: StepResult;
  /** Steps asked of the session by number, and model calls. */
  #steps = 0;
  #calls = 1;

  /** `from`: what to go on from; the session's first result without it. `request.spec.prompt` is all of the text. */
  constructor(session: StepSession, request: LoopRequest, from?: RunEnd) {
    const { spec, limits, rescorer, guide = null } = request;
    const { prompt, answered = 0 } = spec;
    this.#session = session;
    this.#limits = limits;
    this.#rescorer = rescorer;
    this.#guide = guide === null ? null : new Guide(guide, Array.from(prompt).slice(prompt.length - answered));
    this.#maxNodes = request.maxNodes;
    this.#drafter = new Drafter(rescorer, limits, request, spec.heads, this.#guide);
    this.#hints = new Hints(session.bundle.vocabSize);
    this.#learn(prompt, prompt, request.runnersUp ?? NO_RUNNERS_UP);
    this.#result = from?.result ?? session.opened;
    this.#steps = from?.steps ?? 0;
  }

  get end(): RunEnd {
    return { result: this.#result, steps: this.#steps };
  }

  /** The prefill's block. */
  first(): Block {
    return { ...this.#commit(0, EMPTY_TREE, this.#session.opened), cachedTokens: this.#session.cachedTokens };
  }

  /** The next step's draft. */
  draft(): DraftTree {
    this.#inform();
    const draft = this.#drafter.next(this.#state, this.#result);
    // Without chances of its own nodes there is nothing to weigh a hint against.
    if (this.#rescorer.calibrated !== true) return draft;
    return this.#hints.merge(draft, this.#maxNodes, draftDepth(this.#state, this.#limits));
  }

  /** Something for the next drafts, from elsewhere. */
  hint(hint: Hint): void {
    this.#hints.offer(hint);
  }

  /** Something for drafts that are made elsewhere: nodes at least as likely as `floor`, from what is known without a lattice. */
  propose(maxNodes: number, floor: number): Hint {
    this.#inform();
    const depth = draftDepth(this.#state, this.#limits);
    return { anchor: this.#length, tree: this.#rescorer.draft(EMPTY_LATTICE, maxNodes, { depth, floor }) };
  }

  async step(draft: DraftTree, signal: CancelSignal): Promise<Block> {
    const result = await this.#session.step(this.#steps++, draft, signal);
    const { lattice } = this.#result;
    this.#result = result;
    this.#drafter.observe(draft, result);
    return this.#commit(this.#calls++, draft, result, lattice);
  }

  /** Lets the engine draft, by the rest of the limits. Ends with the completion, or once the session was paused. */
  async *run(session: DraftingSession, request: RunRequest, signal: CancelSignal): AsyncGenerator<Block, void> {
    const maxTokens = this.#limits.maxTokens - this.#state.committed;
    const blocks = session.run({ ...request, limits: { ...this.#limits, maxTokens } }, signal);
    try {
      for (;;) {
        const { done, value } = await blocks.next();
        if (done) {
          if (value === null) return;
          this.#result = value.result;
          this.#steps = value.steps;
          return;
        }
        this.#state = follow(this.#state, this.#limits, value);
        this.#note(value);
        yield { ...value, call: this.#calls++ };
      }
    } finally {
      await blocks.return(null);
    }
  }

  /** A guided rescorer has been told some of the tokens before. */
  #note({ committed, runnersUp = NO_RUNNERS_UP }: Pick<Block, "committed" | "runnersUp">): void {
    const tokens = committed.map(({ token }) => token);
    const told = this.#guide?.commit(tokens) ?? tokens;
    const rows = runnersUp.k === 0 ? runnersUp : rowsOf(runnersUp, tokens.length - told.length, tokens.length);
    this.#learn(tokens, told, rows);
  }

  /** `told`: what of it the rescorer is told; `runnersUp`: of the last of these. */
  #learn(tokens: ArrayLike<TokenId>, told: ArrayLike<TokenId>, runnersUp: RunnersUp): void {
    this.#backlog.push({ tokens: told, runnersUp });
    this.#hints.commit(tokens);
    this.#length += tokens.length;
  }

  #inform(): void {
    for (const { tokens, runnersUp } of this.#backlog.splice(0)) this.#rescorer.commit(tokens, runnersUp);
  }

  /** `lattice`: what the draft was made from. */
  #commit(call: number, draft: DraftTree, result: StepResult, lattice: Lattice = EMPTY_LATTICE): Block {
    const { state, committed } = advance(this.#state, this.#limits, draft, result);
    this.#state = state;
    const runnersUp = rowsOf(result.runnersUp ?? NO_RUNNERS_UP, 0, committed.length);
    this.#note({ committed, runnersUp });
    const pruned = prune(draft, result.threshold);
    const verified = { tree: pruned.draft, lattice, accepted: acceptedOf(pruned, result) };
    const drafted = pruned.nodes.length;
    const { timing } = result;
    return { call, committed, runnersUp, drafted, verified, cachedTokens: 0, finish: state.finish, timing };
  }
}

/** The accepted nodes by their places in the tree that was verified. */
function acceptedOf({ nodes }: Pruned, { accepted }: StepResult): number[] {
  return accepted.map((node) => nodes.indexOf(node));
}
