import { type DraftTree, findChild } from "../../shared/draft-tree.ts";
import {
  type BundleInfo,
  type CancelSignal,
  IDLE,
  type OpenSpec,
  type StepEngine,
  type StepResult,
  type StepSession,
  type TokenLogProbs,
} from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { type NodeIndex, ROOT, type TokenId } from "../../shared/ids.ts";
import { createLattice, type Lattice, type PairQuery } from "../../shared/lattice.ts";
import { IM_END, tokensOf } from "./toy-tokenizer.ts";

export interface Script {
  /** The completion, whatever the prompt; then <|im_end|> unless `endless`. */
  readonly text?: string;
  readonly tokens?: readonly TokenId[];
  readonly endless?: boolean;
  /** Of the draft heads' rows, those at these offsets (1 = after the bonus token) list a wrong token first. */
  readonly wrongRows?: readonly number[];
  /**
   * What a node's chance has to be in each call (0 = open, 1 = the first step), the last one standing for all that
   * follow; left out, all nodes are verified. A fixed draft is verified whole whatever is said here.
   */
  readonly thresholds?: readonly number[];
  /** Prompt tokens that are said to have been computed before. */
  readonly cachedTokens?: number;
  /** Throws instead of answering this step (0 = open, 1 = the first step). */
  readonly failAt?: { readonly call: number; readonly error: Error };
  /** Never answers from this call on, until cancelled. */
  readonly hangAt?: number;
}

/** A query of tables of rank 4, another one at every place. */
function queryAt(place: number): PairQuery {
  return { values: Int8Array.from({ length: 8 }, (_, i) => ((place + 3 * i) % 9) - 4), scales: [0.125, 0.25] };
}

/** A model that says a given text: every head knows it, except where told not to. */
export class ScriptedEngine implements StepEngine {
  readonly specs: OpenSpec[] = [];
  readonly drafts: DraftTree[] = [];
  open_ = 0;
  closed = 0;
  cancelled = 0;
  readonly #script: Script;
  readonly #info: BundleInfo;
  readonly #tokens: readonly TokenId[];

  constructor(script: Script, info: BundleInfo) {
    this.#script = script;
    this.#info = info;
    this.#tokens = [...(script.tokens ?? tokensOf(script.text ?? "")), ...(script.endless ? [] : [IM_END])];
  }

  async open(spec: OpenSpec, signal: CancelSignal): Promise<StepSession> {
    this.specs.push(spec);
    await this.#answer(0, signal);
    this.open_++;
    let done = 0;
    let calls = 0;
    let closed = false;
    const thresholdAt = (call: number): number => {
      const { thresholds = [] } = this.#script;
      return spec.fixed ? 0 : (thresholds[call] ?? thresholds.at(-1) ?? 0);
    };
    const result = (accepted: NodeIndex[]): StepResult => {
      done += accepted.length + 1;
      return {
        accepted,
        bonus: this.#at(done - 1),
        lattice: this.#lattice(spec, done),
        logProbs:
          spec.logProbs === null
            ? null
            : Array.from({ length: accepted.length + 1 }, (_, i) =>
                this.#logProbs(done - accepted.length - 1 + i, spec.logProbs ?? 0),
              ),
        threshold: thresholdAt(calls),
        timing: { queueMs: 0.25, modelMs: 0.5, engineMs: 0.125 },
        load: IDLE,
      };
    };
    return {
      bundle: this.#info,
      cachedTokens: this.#script.cachedTokens ?? 0,
      opened: result([]),
      step: async (index, draft, stepSignal) => {
        if (index !== calls++) throw new Error(`step ${index} after ${calls - 1} steps`);
        this.drafts.push(draft);
        await this.#answer(calls, stepSignal);
        return result(this.#accept(draft, thresholdAt(calls), done));
      },
      close: () => {
        if (!closed) this.closed++;
        closed = true;
      },
    };
  }

  #at(index: number): TokenId {
    return this.#tokens[index % Math.max(1, this.#tokens.length)]!;
  }

  #accept(draft: DraftTree, threshold: number, done: number): NodeIndex[] {
    const path: NodeIndex[] = [];
    for (let at = ROOT; ; ) {
      at = findChild(draft, at, this.#at(done + path.length));
      if (at < ROOT || draft.chances[at]! < threshold) return path;
      path.push(at);
    }
  }

  #lattice(spec: OpenSpec, done: number): Lattice {
    const { heads, topK } = spec;
    const tokens = new Uint32Array(heads * topK);
    const logProbs = new Float32Array(heads * topK);
    for (let row = 0; row < heads; row++) {
      const right = this.#at(done + row);
      const first = this.#script.wrongRows?.includes(row + 1) ? 1 : 0;
      for (let column = 0; column < topK; column++) {
        tokens[row * topK + column] = (right + column + first) % this.#info.vocabSize;
        logProbs[row * topK + column] = -1 - column;
      }
    }
    return createLattice(heads, topK, tokens, logProbs, spec.pair ? queryAt(done) : null);
  }

  #logProbs(index: number, count: number): TokenLogProbs {
    const token = this.#at(index);
    return {
      logProb: -0.5,
      topTokens: Uint32Array.from({ length: count }, (_, i) => (token + i) % this.#info.vocabSize),
      topLogProbs: Float32Array.from({ length: count }, (_, i) =>
        i === 0 ? -0.5 : i === 1 ? -2 : Number.NEGATIVE_INFINITY,
      ),
    };
  }

  async #answer(call: number, signal: CancelSignal): Promise<void> {
    const { failAt, hangAt } = this.#script;
    if (failAt?.call === call) throw failAt.error;
    if (hangAt === undefined || call < hangAt) return;
    await new Promise<never>((_, reject) => {
      const stop = () => {
        this.cancelled++;
        reject(new StepError("client_closed", "cancelled"));
      };
      if (signal.aborted) stop();
      signal.addEventListener("abort", stop);
    });
  }
}
