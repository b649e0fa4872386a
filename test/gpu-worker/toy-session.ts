import { PAGE_TOKENS } from "../../gpu-worker/model.ts";
import type { NeuralModel } from "../../gpu-worker/neural.ts";
import { ModelRunner, type Outcome, type RunnerItem, type RunnerSpec } from "../../gpu-worker/runner.ts";
import type { DraftTree } from "../../shared/draft-tree.ts";
import { ToyModel } from "./toy-model.ts";

export const GREEDY: RunnerSpec = {
  heads: 0,
  topK: 1,
  sampling: { temperature: 0, topP: 1, seed: 0 },
  logProbs: null,
  neural: null,
};

/** One session of a runner over the toy model, with pages of its own. */
export class ToySession {
  readonly model: ToyModel;
  readonly runner: ModelRunner;
  #length = 0;
  #pages = 0;

  constructor(spec: RunnerSpec, prompt: readonly number[], model = new ToyModel(), neural: NeuralModel | null = null) {
    this.model = model;
    this.runner = new ModelRunner(model, neural);
    const session = { spec, text: Uint32Array.from(prompt), promptTokens: prompt.length };
    this.runner.open(0, session, [], 0);
  }

  /** The next `rows` tokens of the prompt; the outcome comes with the last of them. */
  async extend(rows: number): Promise<Outcome | null> {
    const outcome = await this.#run(rows, { rows }, true);
    this.#length += rows;
    return outcome;
  }

  async step(draft: DraftTree, heads = true): Promise<Outcome> {
    const outcome = (await this.#run(draft.tokens.length + 1, { draft }, heads))!;
    this.#length += outcome.accepted.length + 1;
    return outcome;
  }

  async #run(rows: number, work: RunnerItem["work"], heads: boolean): Promise<Outcome | null> {
    const needed = Math.ceil((this.#length + rows) / PAGE_TOKENS) - this.#pages;
    // Neither the first ones nor in order.
    const pages = Array.from({ length: Math.max(0, needed) }, (_, i) => ((this.#pages + i) * 7 + 3) % this.model.pages);
    this.#pages += pages.length;
    const { outcomes } = await this.runner.run([{ id: 0, pages, work, heads }]);
    return outcomes[0] ?? null;
  }
}
