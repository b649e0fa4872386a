import type { NgramModel } from "../../shared/ngram/model.ts";
import { PromptModel } from "../../shared/ngram/prompt.ts";
import { Continuations } from "../../shared/rescore/continuations.ts";
import { Features } from "../../shared/rescore/features.ts";
import { History } from "../../shared/rescore/history.ts";
import { PairScores, type PairTables } from "../../shared/rescore/pair-scores.ts";
import { Recycled } from "../../shared/rescore/recycled.ts";
import { rowsOf } from "../../shared/runners-up.ts";
import type { Generation } from "../eval/trace.ts";

/**
 * Choices that the base model made where a drafter stood: sparse features of every outcome, and which one came true.
 * Outcome 0 of a choice is "none of those listed".
 */
export interface Examples {
  readonly choices: number;
  /** [choices + 1] first outcome of each */
  readonly outcomes: Uint32Array;
  /** [choices] the true outcome's place among them */
  readonly truth: Uint8Array;
  /** [outcomes + 1] first feature of each */
  readonly features: Uint32Array;
  readonly ids: Uint16Array;
  readonly values: Float64Array;
}

export interface ExampleOptions {
  readonly model: NgramModel | null;
  readonly prompt: boolean;
  readonly recycled: boolean;
  /** null: the scores of pairs are left out. */
  readonly pair: PairTables | null;
  /** How far a path is followed. */
  readonly depth: number;
}

/**
 * From every position of every completion, along the completion as far as each token is among those listed: a drafted
 * node matters only where its parent was accepted, so these are the conditional probabilities that a tree is made of.
 */
export function collectExamples(generations: readonly Generation[], options: ExampleOptions): Examples {
  const out = { outcomes: [0], truth: [] as number[], features: [0], ids: [] as number[], values: [] as number[] };
  for (const generation of generations) collect(generation, options, out);
  return {
    choices: out.truth.length,
    outcomes: Uint32Array.from(out.outcomes),
    truth: Uint8Array.from(out.truth),
    features: Uint32Array.from(out.features),
    ids: Uint16Array.from(out.ids),
    values: Float64Array.from(out.values),
  };
}

type Growing = { outcomes: number[]; truth: number[]; features: number[]; ids: number[]; values: number[] };

function collect({ prompt, output, lattices, runnersUp }: Generation, options: ExampleOptions, out: Growing): void {
  const memory = options.prompt ? new PromptModel() : null;
  const recycled = options.recycled ? new Recycled() : null;
  const pair = options.pair === null ? null : new PairScores(options.pair);
  const history = new History(options.model, memory, recycled, null, pair);
  const after = new Continuations(history);
  const features = new Features();
  const put = () => {
    for (let i = 0; i < features.count; i++) {
      out.ids.push(features.ids[i]!);
      out.values.push(features.values[i]!);
    }
    out.features.push(out.ids.length);
  };
  history.commit(prompt);
  for (let at = 0; at + 1 < output.length; at++) {
    history.commit([output[at]!], rowsOf(runnersUp, at, at + 1));
    after.begin(lattices[at]!);
    let end = history.end();
    for (let depth = 0; depth < options.depth && at + 1 + depth < output.length; depth++) {
      after.list(end);
      features.describeOther(after, end);
      put();
      const token = output[at + 1 + depth]!;
      let truth = 0;
      for (let c = 0; c < after.count; c++) {
        features.describe(after, c, end);
        put();
        if (after.tokens[c] === token) truth = c + 1;
      }
      out.outcomes.push(out.features.length - 1);
      out.truth.push(truth);
      if (truth === 0) break;
      end = after.step(end, truth - 1);
    }
  }
}
