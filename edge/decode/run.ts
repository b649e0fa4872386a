import { type DraftTree, EMPTY_TREE } from "../../shared/draft-tree.ts";
import type { CancelSignal, OpenSpec, StepEngine, StepResult, StepSession, StepTiming } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import type { NodeIndex } from "../../shared/ids.ts";
import { narrowLattice } from "../../shared/lattice.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";
import {
  advance,
  type CommittedToken,
  type DecodeLimits,
  type DecodeState,
  draftDepth,
  type FinishReason,
  INITIAL_STATE,
} from "./advance.ts";
import { DraftBudget } from "./budget.ts";

export interface DecodeRequest {
  readonly spec: OpenSpec;
  readonly limits: DecodeLimits;
  readonly rescorer: Rescorer;
  /** Upper bound of drafted nodes per step; 0 drafts nothing. */
  readonly maxNodes: number;
  /** true: at most `maxNodes`, chosen each step by cost and acceptance; false: `maxNodes`. */
  readonly autoNodes: boolean;
  /** Hex SHA-256 the engine's tokenizer must have; null trusts it. */
  readonly tokenizerHash: string | null;
  /** Cancels the running step and ends the session, also between two steps. */
  readonly signal: CancelSignal;
  /** ms, any origin. */
  readonly now: () => number;
}

/** One model call: the prefill (index 0), then steps 1, 2, ... */
export interface StepEvent {
  readonly index: number;
  /** At least one token. */
  readonly committed: readonly CommittedToken[];
  /** What was verified; empty for the prefill. */
  readonly draft: DraftTree;
  /** Nodes of `draft` the model confirmed, also those cut off by an end or a limit. */
  readonly accepted: readonly NodeIndex[];
  readonly finish: FinishReason | null;
  /** The engine's own account. */
  readonly timing: StepTiming;
  /** From sending to receiving, ms: the engine's time and the wire. */
  readonly wallMs: number;
}

/**
 * Decodes one completion block by block; the last event carries `finish`. Knows nothing of HTTP or text:
 * a consumer that has seen enough (a stop string) just leaves the loop, which ends the session.
 * Rejects with the engine's StepError, or "protocol_mismatch" where the tokenizers differ.
 */
export async function* decode(engine: StepEngine, request: DecodeRequest): AsyncGenerator<StepEvent, void> {
  const { spec, limits, rescorer, signal, now } = request;
  const openedAt = now();
  const session = await engine.open(spec, signal);
  // Between two steps nobody else listens, and in workerd no code after an await runs once the client is gone.
  const onAbort = () => session.close();
  signal.addEventListener("abort", onAbort);
  try {
    if (request.tokenizerHash !== null && session.bundle.tokenizerHash !== request.tokenizerHash) {
      throw new StepError("protocol_mismatch", "The engine serves a model with another tokenizer.");
    }
    const drafter = new Drafter(request, session);
    rescorer.commit(spec.prompt);
    let result = session.opened;
    let draft = EMPTY_TREE;
    let wallMs = now() - openedAt;
    let state: DecodeState = INITIAL_STATE;
    for (let index = 0; ; index++) {
      const next = advance(state, limits, draft, result);
      state = next.state;
      const { finish } = state;
      yield {
        index,
        committed: next.committed,
        draft,
        accepted: result.accepted,
        finish,
        timing: result.timing,
        wallMs,
      };
      if (finish !== null) return;

      rescorer.commit(next.committed.map((c) => c.token));
      draft = drafter.next(state, result);
      const sentAt = now();
      result = await session.step(index, draft, signal);
      wallMs = now() - sentAt;
      drafter.observe(draft, result, wallMs);
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    session.close();
  }
}

/** Turns each result's lattice into the next draft, of a fixed or a chosen number of nodes. */
class Drafter {
  readonly #request: DecodeRequest;
  readonly #budget: DraftBudget | null;

  constructor(request: DecodeRequest, session: StepSession) {
    this.#request = request;
    const { maxNodes, autoNodes, spec } = request;
    this.#budget = autoNodes ? new DraftBudget(session.bundle.costCurve, maxNodes, spec.heads) : null;
  }

  next(state: DecodeState, result: StepResult): DraftTree {
    const { limits, maxNodes, rescorer } = this.#request;
    // Tokens beyond the limit would be thrown away, and their positions may not exist.
    const depth = draftDepth(state, limits);
    const lattice = narrowLattice(result.lattice, depth, result.lattice.k);
    if (maxNodes === 0 || lattice.heads === 0) return EMPTY_TREE;
    if (this.#budget === null) return rescorer.draft(lattice, maxNodes, { depth, stepMs: null });
    if (rescorer.choosesNodes) return rescorer.draft(lattice, maxNodes, { depth, stepMs: this.#budget.stepTimes() });
    const nodes = this.#budget.choose();
    return nodes === 0 ? EMPTY_TREE : rescorer.draft(lattice, nodes, { depth, stepMs: null });
  }

  observe(draft: DraftTree, result: StepResult, wallMs: number): void {
    const { queueMs, modelMs } = result.timing;
    this.#budget?.observe(draft.tokens.length, result.accepted, wallMs - queueMs - modelMs);
  }
}
