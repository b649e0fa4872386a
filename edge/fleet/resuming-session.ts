import { advance, type DecodeState, INITIAL_STATE } from "../../shared/decode/advance.ts";
import type { Block } from "../../shared/decode/block.ts";
import { canDraft, type DraftingSession, type RunEnd } from "../../shared/decode/drafting-session.ts";
import type { Hint } from "../../shared/decode/hints.ts";
import type { RunRequest } from "../../shared/decode/run-request.ts";
import { CERTAIN, type DraftTree, EMPTY_TREE } from "../../shared/draft-tree.ts";
import type { BundleInfo, CancelSignal, Load, OpenSpec, StepResult, StepSession } from "../../shared/engine.ts";
import { type ErrorCode, StepError } from "../../shared/errors.ts";
import type { TokenId } from "../../shared/ids.ts";
import { cancelled } from "../engine/link.ts";
import type { Member } from "./member.ts";

/** An opened session, and where. */
export interface Placed {
  readonly member: Member;
  readonly session: StepSession;
}

export interface Resumption {
  /** Opens a session over all that was committed, anywhere. Rejects where that cannot be had. */
  again(text: Uint32Array): Promise<Placed>;
  told(placed: Placed, told: { readonly load: Load }): void;
  lost(placed: Placed): void;
}

/** The engine is gone, or its model is, or what it says can no longer be trusted. */
const LOST: ReadonlySet<ErrorCode> = new Set(["engine_lost", "engine_unavailable", "bad_frame"]);
/** Times that one stream may lose its engine without getting on: beyond that it is likely the stream's own doing. */
const MAX_LOSSES = 4;
/** Tokens that are getting on. */
const PROGRESS = 64;
/** Of the step that was lost nothing was verified. */
const UNVERIFIED = CERTAIN + 1;

/**
 * A session that survives its engine: what was committed is opened elsewhere, and the first token there is the outcome of
 * the step that was lost, one that accepts nothing. Text does not change, as it depends on seed and position alone.
 */
export class ResumingSession implements DraftingSession {
  readonly bundle: BundleInfo;
  readonly cachedTokens: number;
  readonly opened: StepResult;
  readonly #text: TokenId[];
  readonly #resumption: Resumption;
  #placed: Placed;
  /** Steps made before this engine's first. */
  #base = 0;
  #losses = 0;
  /** Length of the text at the first of them. */
  #lostAt = 0;
  #paused = false;
  #closed = false;

  constructor(spec: OpenSpec, placed: Placed, resumption: Resumption) {
    const { session } = placed;
    this.bundle = session.bundle;
    this.cachedTokens = session.cachedTokens;
    this.opened = session.opened;
    this.#text = [...spec.prompt, session.opened.bonus];
    this.#placed = placed;
    this.#resumption = resumption;
  }

  get roundTripMs(): number | null {
    const { session } = this.#placed;
    return canDraft(session) ? session.roundTripMs : null;
  }

  get running(): boolean {
    const { session } = this.#placed;
    return canDraft(session) && session.running;
  }

  get load(): Load {
    const { session } = this.#placed;
    return canDraft(session) ? session.load : session.opened.load;
  }

  async step(index: number, draft: DraftTree, signal: CancelSignal): Promise<StepResult> {
    try {
      const result = await this.#placed.session.step(index - this.#base, draft, signal);
      this.#resumption.told(this.#placed, result);
      this.#text.push(...result.accepted.map((node) => draft.tokens[node]!), result.bonus);
      return result;
    } catch (error) {
      return { ...(await this.#resume(error, index + 1)), threshold: UNVERIFIED };
    }
  }

  async *run(request: RunRequest, signal: CancelSignal): AsyncGenerator<Block, RunEnd | null> {
    const progress: Progress = { state: INITIAL_STATE, blocks: 0 };
    this.#paused = false;
    while (progress.state.finish === null) {
      try {
        return yield* this.#relay(request, progress, signal);
      } catch (error) {
        const result = await this.#resume(error, 0);
        yield resumedBlock(request, progress, result);
        // Whoever paused the engine that was lost has not paused this one.
        if (this.#paused && progress.state.finish === null) return { result, steps: this.#base };
      }
    }
    return null;
  }

  /** Blocks of the engine there is now, for the rest of the request. */
  async *#relay(request: RunRequest, progress: Progress, signal: CancelSignal): AsyncGenerator<Block, RunEnd | null> {
    const { session } = this.#placed;
    if (!canDraft(session)) throw new StepError("unsupported", "The engine does not draft.");
    let { load } = session;
    const maxTokens = request.limits.maxTokens - progress.state.committed;
    const blocks = session.run({ ...request, limits: { ...request.limits, maxTokens } }, signal);
    try {
      for (;;) {
        const { done, value } = await blocks.next();
        if (done) return value && { ...value, steps: value.steps + this.#base };
        const { committed, finish } = value;
        this.#text.push(...committed.map(({ token }) => token));
        progress.state = { committed: progress.state.committed + committed.length, finish };
        if (session.load !== load) this.#resumption.told(this.#placed, session);
        load = session.load;
        yield { ...value, call: progress.blocks++ };
      }
    } finally {
      await blocks.return(null);
    }
  }

  hint(hint: Hint): void {
    const { session } = this.#placed;
    if (canDraft(session)) session.hint(hint);
  }

  pause(): void {
    this.#paused = true;
    const { session } = this.#placed;
    if (canDraft(session)) session.pause();
  }

  close(): void {
    this.#closed = true;
    this.#placed.session.close();
  }

  /** The first result of another engine; throws `error` where that is none of a lost one. */
  async #resume(error: unknown, base: number): Promise<StepResult> {
    const lost = error instanceof StepError && LOST.has(error.code);
    if (!lost) throw error;
    // Whoever has left does not care what became of the engine.
    if (this.#closed) throw cancelled();
    if (this.#losses === 0 || this.#text.length >= this.#lostAt + PROGRESS) {
      this.#lostAt = this.#text.length;
      this.#losses = 0;
    }
    if (++this.#losses > MAX_LOSSES) throw error;
    this.#resumption.lost(this.#placed);
    this.#placed.session.close();
    const placed = await this.#resumption.again(Uint32Array.from(this.#text));
    this.#placed = placed;
    // Closed meanwhile: what came too late must not stay open.
    if (this.#closed) {
      placed.session.close();
      throw cancelled();
    }
    this.#base = base;
    const { opened } = placed.session;
    this.#text.push(opened.bonus);
    return opened;
  }
}

interface Progress {
  state: DecodeState;
  /** Blocks told so far. */
  blocks: number;
}

/** The first token of another engine, as a block of the run that it goes on with. */
function resumedBlock({ limits, verified }: RunRequest, progress: Progress, result: StepResult): Block {
  const { state, committed } = advance(progress.state, limits, EMPTY_TREE, result);
  progress.state = state;
  return {
    call: progress.blocks++,
    committed,
    runnersUp: result.runnersUp,
    drafted: 0,
    verified: verified ? { tree: EMPTY_TREE, accepted: [] } : null,
    cachedTokens: 0,
    finish: state.finish,
    timing: result.timing,
  };
}
