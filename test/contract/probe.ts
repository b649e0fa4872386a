import { type DraftTree, EMPTY_TREE } from "../../shared/draft-tree.ts";
import type { BundleInfo, OpenSpec, Sampling, StepEngine, StepResult, StepSession } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";

export interface EngineUnderTest {
  readonly engine: StepEngine;
  /** Bundle it serves. */
  readonly model: string;
  /** How far the same log-probability may differ from pass to pass; left out: not at all. */
  readonly rounding?: number;
  close(): Promise<void>;
}

export const GREEDY: Sampling = { temperature: 0, topP: 1, seed: 0 };
export const SAMPLED: Sampling = { temperature: 0.9, topP: 0.9, seed: 20_261_123 };
/** Tokens decoded per text: some pages of a cache. */
export const LENGTH = 80;
export const never = new AbortController().signal;

/** Asks one engine. */
export class Probe {
  readonly #under: EngineUnderTest;
  readonly info: BundleInfo;

  private constructor(under: EngineUnderTest, info: BundleInfo) {
    this.#under = under;
    this.info = info;
  }

  static async of(under: EngineUnderTest): Promise<Probe> {
    const session = await under.engine.open(specOf(under, {}), never);
    session.close();
    return new Probe(under, session.bundle);
  }

  get rounding(): number {
    return this.#under.rounding ?? 0;
  }

  get engine(): StepEngine {
    return this.#under.engine;
  }

  spec(changes: Partial<OpenSpec>): OpenSpec {
    return specOf(this.#under, changes);
  }

  withHeads() {
    return { heads: this.info.latticeHeads, topK: this.info.topK };
  }

  open(changes: Partial<OpenSpec>): Promise<StepSession> {
    return this.engine.open(this.spec(changes), never);
  }

  /** Decodes LENGTH tokens, drafting as `draw` says; returns them and the number of steps. */
  async decode(changes: Partial<OpenSpec>, draw: (last: StepResult, tokens: readonly number[]) => DraftTree) {
    const session = await this.open(changes);
    const tokens = [session.opened.bonus];
    let last = session.opened;
    let steps = 0;
    while (tokens.length < LENGTH) {
      const draft = draw(last, tokens);
      last = await session.step(steps++, draft, never);
      tokens.push(...last.accepted.map((node) => draft.tokens[node]!), last.bonus);
    }
    session.close();
    return { tokens: tokens.slice(0, LENGTH), steps };
  }

  plain(sampling: Sampling) {
    return this.decode({ sampling }, () => EMPTY_TREE);
  }
}

function specOf({ model }: EngineUnderTest, changes: Partial<OpenSpec>): OpenSpec {
  const prompt = Uint32Array.of(5, 9, 2, 14, 3);
  const plain = { heads: 0, topK: 1, sampling: GREEDY, logProbs: null, neural: null, fixed: false, tenant: "" };
  return { model, prompt, ...plain, ...changes };
}

/** The StepError's code, or what happened instead. */
export function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "no error",
    (error) => (error instanceof StepError ? error.code : `${error}`),
  );
}
