import { CERTAIN, type DraftTree, EMPTY_TREE } from "../../shared/draft-tree.ts";
import type { CancelSignal, OpenSpec, StepEngine, StepResult, StepTiming } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import type { NodeIndex } from "../../shared/ids.ts";
import { narrowLattice } from "../../shared/lattice.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";
import { AcceptanceEstimate } from "./acceptance.ts";
import {
  advance,
  type CommittedToken,
  type DecodeLimits,
  type DecodeState,
  draftDepth,
  type FinishReason,
  INITIAL_STATE,
} from "./advance.ts";

export interface DecodeRequest {
  readonly spec: OpenSpec;
  readonly limits: DecodeLimits;
  readonly rescorer: Rescorer;
  /** Upper bound of drafted nodes per step; 0 drafts nothing. */
  readonly maxNodes: number;
  /** true: at most `maxNodes`, of which the engine verifies those that pay; false: all of `maxNodes`. */
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
  /** Of the prefill: prompt tokens that had been computed before; else 0. */
  readonly cachedTokens: number;
  /** Nodes of `draft` with a lower chance were not verified. */
  readonly threshold: number;
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
    const drafter = new Drafter(request);
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
        cachedTokens: index === 0 ? session.cachedTokens : 0,
        threshold: result.threshold,
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
      drafter.observe(draft, result);
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    session.close();
  }
}

/** Least chance of a node that is drafted before the engine has said what pays. */
const FIRST_FLOOR = 0.05;
/** What pays changes from step to step: nodes a little less likely are drafted, too. */
const MARGIN = 0.7;

/** Turns each result's lattice into the next draft: of a fixed number of nodes, or of those that may pay. */
class Drafter {
  readonly #request: DecodeRequest;
  /** null: the draft's size is fixed, or the rescorer knows its nodes' chances. */
  readonly #acceptance: AcceptanceEstimate | null;
  #floor = FIRST_FLOOR;

  constructor(request: DecodeRequest) {
    this.#request = request;
    const { maxNodes, autoNodes, spec, rescorer } = request;
    const estimated = autoNodes && rescorer.calibrated !== true;
    this.#acceptance = estimated ? new AcceptanceEstimate(maxNodes, spec.heads) : null;
  }

  next(state: DecodeState, result: StepResult): DraftTree {
    const { limits, maxNodes, autoNodes, rescorer } = this.#request;
    // Tokens beyond the limit would be thrown away, and their positions may not exist.
    const depth = draftDepth(state, limits);
    const lattice = narrowLattice(result.lattice, depth, result.lattice.k);
    if (maxNodes === 0 || depth === 0) return EMPTY_TREE;
    if (this.#acceptance !== null) {
      const nodes = this.#acceptance.nodes(this.#floor);
      return nodes === 0 ? EMPTY_TREE : this.#acceptance.estimate(rescorer.draft(lattice, nodes, { depth, floor: 0 }));
    }
    return rescorer.draft(lattice, maxNodes, { depth, floor: autoNodes ? this.#floor : 0 });
  }

  observe(draft: DraftTree, { accepted, threshold }: StepResult): void {
    this.#floor = (MARGIN * threshold) / CERTAIN;
    this.#acceptance?.observe(draft, accepted, threshold);
  }
}
