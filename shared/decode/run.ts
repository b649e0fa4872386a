import type { CancelSignal, EngineEstimates, OpenSpec, StepEngine } from "../engine.ts";
import { StepError } from "../errors.ts";
import type { TokenGrammar } from "../grammar/token-grammar.ts";
import type { Rescorer } from "../rescore/rescorer.ts";
import type { Block } from "./block.ts";
import { canDraft, type DraftingSession } from "./drafting-session.ts";
import { HintGain } from "./hints.ts";
import { Loop } from "./loop.ts";
import { HERE, type Place, type Placement } from "./placement.ts";
import type { DecodeLimits, DraftSize, RunRequest } from "./run-request.ts";

export interface DecodeRequest extends DraftSize {
  readonly spec: OpenSpec;
  readonly limits: DecodeLimits;
  readonly rescorer: Rescorer;
  /** The grammar by which drafts are made here, which is `spec.grammar`; null or left out: by none. */
  readonly guide?: TokenGrammar | null;
  /** Hex SHA-256 the engine's tokenizer must have; null trusts it. */
  readonly tokenizerHash: string | null;
  /** Where this runs; default "edge". */
  readonly here?: Place;
  /** How the engine drafts where it is to do so itself, and who decides that; null: always here. */
  readonly elsewhere: Elsewhere | null;
  /** Cancels the running step and ends the session, also between two steps. */
  readonly signal: CancelSignal;
  /** ms, any origin. */
  readonly now: () => number;
}

/** How an engine drafts, and who decides whether it does. */
export interface Elsewhere {
  readonly run: RunRequest;
  readonly placement: Placement;
  /** Whether the rescorer knows more here than there, so that hints are worth sending; false where left out. */
  readonly hints?: boolean;
}

/** One model call, beside what it made. */
export interface StepEvent extends Block {
  /** Who drafted. */
  readonly place: Place;
  /** From sending to receiving, ms: the engine's time and the wire. Of blocks that come by themselves, since the last. */
  readonly wallMs: number;
}

/**
 * Decodes one completion block by block; the last event carries `finish`. Knows nothing of HTTP or text:
 * a consumer that has seen enough (a stop string) just leaves the loop, which ends the session.
 * Rejects with the engine's StepError, or "protocol_mismatch" where the tokenizers differ.
 */
export async function* decode(engine: StepEngine, request: DecodeRequest): AsyncGenerator<StepEvent, void> {
  const { spec, signal, now, tokenizerHash, here = "edge" } = request;
  const openedAt = now();
  const session = await engine.open(spec, signal, (known) => runAhead(request, known));
  // Between two steps nobody else listens, and in workerd no code after an await runs once the client is gone.
  const onAbort = () => session.close();
  signal.addEventListener("abort", onAbort);
  try {
    if (tokenizerHash !== null && session.bundle.tokenizerHash !== tokenizerHash) {
      throw new StepError("protocol_mismatch", "The engine serves a model with another tokenizer.");
    }
    const loop = new Loop(session, request);
    const placement = request.elsewhere?.placement ?? HERE;
    placement.opened(session.bundle.costs);
    let event: StepEvent = { ...loop.first(), place: here, wallMs: now() - openedAt };
    yield event;
    while (event.finish === null) {
      const { elsewhere } = request;
      if (
        elsewhere !== null &&
        canDraft(session) &&
        (session.running || placement.choose(session.roundTripMs) === "gpu")
      ) {
        for await (event of follow(session, loop, request, elsewhere)) yield event;
        continue;
      }
      const draftedAt = now();
      const draft = loop.draft();
      const sentAt = now();
      event = { ...(await loop.step(draft, signal)), place: here, wallMs: now() - sentAt };
      placement.observe(event, sentAt - draftedAt);
      yield event;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    session.close();
  }
}

/** What the engine is to do after the prefill without being asked again. */
function runAhead({ elsewhere, limits }: DecodeRequest, known: EngineEstimates): RunRequest | null {
  const maxTokens = limits.maxTokens - 1;
  if (elsewhere === null || maxTokens === 0 || elsewhere.placement.beforehand(known) !== "gpu") return null;
  return { ...elsewhere.run, limits: { ...limits, maxTokens } };
}

/** A hint's size: about a quarter of a kilobyte. */
const HINT_NODES = 48;
const HINT_FLOOR = 0.05;

/** Blocks that the engine drafts itself, until the end or until that is better done here. */
async function* follow(
  session: DraftingSession,
  loop: Loop,
  { signal, now }: DecodeRequest,
  { run, placement, hints = false }: Elsewhere,
): AsyncGenerator<StepEvent, void> {
  const gain = new HintGain();
  let at = now();
  let paused = false;
  let blocks = 0;
  for await (const block of loop.run(session, run, signal)) {
    const event: StepEvent = { ...block, place: "gpu", wallMs: now() - at };
    at = now();
    blocks++;
    placement.observe(event, 0);
    if (hints && event.finish === null) {
      placement.compare(gain.follow(block));
      const hint = loop.propose(HINT_NODES, HINT_FLOOR);
      gain.hinted(hint.tree);
      if (hint.tree.tokens.length > 0) session.hint(hint);
    }
    yield event;
    if (paused || event.finish !== null || placement.choose(session.roundTripMs) === "gpu") continue;
    session.pause();
    paused = true;
  }
  if (blocks === 0) placement.turnedAway();
}
