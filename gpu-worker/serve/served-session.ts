import type { RunEnd } from "../../shared/decode/drafting-session.ts";
import { Loop } from "../../shared/decode/loop.ts";
import type { RunRequest } from "../../shared/decode/run-request.ts";
import type { DraftTree } from "../../shared/draft-tree.ts";
import type { BundleInfo, CancelSignal, OpenSpec, StepEngine, StepResult, StepSession } from "../../shared/engine.ts";
import type { TokenGrammar } from "../../shared/grammar/token-grammar.ts";
import type { TokenId } from "../../shared/ids.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";
import { joinRunnersUp, NO_RUNNERS_UP, type RunnersUp } from "../../shared/runners-up.ts";
import type { Drafts } from "./served.ts";

/** Who is told of a session's progress. */
export interface SessionEvents {
  opened(promptTokens: number, result: StepResult, cachedTokens: number): void;
  stepped(draft: DraftTree, result: StepResult): void;
}

/** A session as one peer has it: counted, and with its text, so that drafting beside the model can begin at any time. */
export class ServedSession implements StepSession {
  readonly #spec: OpenSpec;
  readonly #session: StepSession;
  readonly #events: SessionEvents;
  /** null: the session has none. */
  readonly #grammar: TokenGrammar | null;
  /** All committed tokens. */
  readonly #text: TokenId[];
  /** Of those that the model chose. */
  readonly #runnersUp: RunnersUp[] = [];
  #end: RunEnd;

  private constructor(spec: OpenSpec, session: StepSession, events: SessionEvents, grammar: TokenGrammar | null) {
    this.#spec = spec;
    this.#session = session;
    this.#events = events;
    this.#grammar = grammar;
    this.#text = [...spec.prompt, session.opened.bonus];
    this.#runnersUp.push(session.opened.runnersUp ?? NO_RUNNERS_UP);
    this.#end = { result: session.opened, steps: 0 };
  }

  /** Rejects with StepError, also where `spec` has a grammar that is none. */
  static async open(
    { engine, drafting }: { readonly engine: StepEngine; readonly drafting: Drafts },
    spec: OpenSpec,
    events: SessionEvents,
    signal: CancelSignal,
  ): Promise<ServedSession> {
    const grammar = spec.grammar === undefined ? null : await drafting.grammar(spec.grammar);
    const session = await engine.open(spec, signal);
    events.opened(spec.prompt.length, session.opened, session.cachedTokens);
    return new ServedSession(spec, session, events, grammar);
  }

  get bundle(): BundleInfo {
    return this.#session.bundle;
  }

  get cachedTokens(): number {
    return this.#session.cachedTokens;
  }

  get opened(): StepResult {
    return this.#session.opened;
  }

  async step(index: number, draft: DraftTree, signal: CancelSignal): Promise<StepResult> {
    const result = await this.#session.step(index, draft, signal);
    this.#events.stepped(draft, result);
    this.#text.push(...result.accepted.map((node) => draft.tokens[node]!), result.bonus);
    this.#runnersUp.push(result.runnersUp ?? NO_RUNNERS_UP);
    this.#end = { result, steps: index + 1 };
    return result;
  }

  close(): void {
    this.#session.close();
  }

  /** Where it got to. */
  get end(): RunEnd {
    return this.#end;
  }

  /** Decoding from the last result on. */
  loop(request: RunRequest, rescorer: Rescorer): Loop {
    const { prompt, heads, answered = 0 } = this.#spec;
    const spec = { prompt: [...this.#text], heads, answered: answered + this.#text.length - prompt.length };
    const runnersUp = joinRunnersUp(this.#runnersUp);
    const guide = request.guided ? this.#grammar : null;
    return new Loop(this, { ...request, spec, runnersUp, rescorer, guide }, this.#end);
  }
}
