import { type DraftTree, EMPTY_TREE, type Pruned, prune } from "../draft-tree.ts";
import type { CancelSignal, StepResult, StepSession } from "../engine.ts";
import type { TokenId } from "../ids.ts";
import { EMPTY_LATTICE, type Lattice } from "../lattice.ts";
import type { Rescorer } from "../rescore/rescorer.ts";
import { NO_RUNNERS_UP, type RunnersUp, rowsOf } from "../runners-up.ts";
import { advance, type DecodeLimits, type DecodeState, INITIAL_STATE } from "./advance.ts";
import type { Block } from "./block.ts";
import { Drafter, type DraftSize } from "./drafter.ts";
import type { DraftingSession, RunEnd, RunRequest } from "./drafting-session.ts";

export interface LoopRequest extends DraftSize {
  readonly spec: { readonly prompt: ArrayLike<TokenId>; readonly heads: number };
  /** Of the last tokens of `spec.prompt`, where any are known. */
  readonly runnersUp?: RunnersUp;
  readonly limits: DecodeLimits;
  readonly rescorer: Rescorer;
}

/** Decoding of one session, wherever it runs: what has been committed, and the result to go on from. */
export class Loop {
  readonly #session: StepSession;
  readonly #limits: DecodeLimits;
  readonly #rescorer: Rescorer;
  readonly #drafter: Drafter;
  /** Tokens that the rescorer has not been told of. */
  #backlog: { readonly tokens: ArrayLike<TokenId>; readonly runnersUp: RunnersUp }[];
  #state: DecodeState = INITIAL_STATE;
  #result: StepResult;
  /** Steps asked of the session by number, and model calls. */
  #steps = 0;
  #calls = 1;

  /** `from`: what to go on from; the session's first result without it. `request.spec.prompt` is all of the text. */
  constructor(session: StepSession, request: LoopRequest, from?: RunEnd) {
    const { spec, limits, rescorer } = request;
    this.#session = session;
    this.#limits = limits;
    this.#rescorer = rescorer;
    this.#drafter = new Drafter(rescorer, limits, request, spec.heads);
    this.#backlog = [{ tokens: spec.prompt, runnersUp: request.runnersUp ?? NO_RUNNERS_UP }];
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
    for (const { tokens, runnersUp } of this.#backlog.splice(0)) this.#rescorer.commit(tokens, runnersUp);
    return this.#drafter.next(this.#state, this.#result);
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
        const { committed, finish } = value;
        this.#state = { committed: this.#state.committed + committed.length, finish };
        this.#remember(value);
        yield { ...value, index: this.#calls++ };
      }
    } finally {
      await blocks.return(null);
    }
  }

  /** `lattice`: what the draft was made from. */
  #commit(index: number, draft: DraftTree, result: StepResult, lattice: Lattice = EMPTY_LATTICE): Block {
    const { state, committed } = advance(this.#state, this.#limits, draft, result);
    this.#state = state;
    const runnersUp = rowsOf(result.runnersUp ?? NO_RUNNERS_UP, 0, committed.length);
    this.#remember({ committed, runnersUp });
    const pruned = prune(draft, result.threshold);
    const verified = { tree: pruned.draft, lattice, accepted: acceptedOf(pruned, result) };
    const drafted = pruned.nodes.length;
    const { timing } = result;
    return { index, committed, runnersUp, drafted, verified, cachedTokens: 0, finish: state.finish, timing };
  }

  #remember({ committed, runnersUp = NO_RUNNERS_UP }: Pick<Block, "committed" | "runnersUp">): void {
    this.#backlog.push({ tokens: committed.map(({ token }) => token), runnersUp });
  }
}

/** The accepted nodes by their places in the tree that was verified. */
function acceptedOf({ nodes }: Pruned, { accepted }: StepResult): number[] {
  return accepted.map((node) => nodes.indexOf(node));
}
