import type { StepEngine } from "../../shared/engine.ts";
import { replayCases } from "../eval/cases.ts";
import { complete } from "../eval/complete.ts";
import { firstPath } from "../eval/counters.ts";
import type { LoadedBundle } from "../eval/model.ts";
import type { Trace } from "../eval/trace.ts";
import { suiteMethod } from "./common.ts";
import { MAIN_SET, type SuiteSet } from "./sets.ts";
import type { Example, ExampleStep, StoredTune } from "./stored.ts";

/** Only of these: the set's other categories quote texts whose licence does not let us show them. */
const CATEGORIES: readonly string[] = ["multi-turn", "qa", "math"];
/** Of the methods that were run. */
const METHODS: readonly string[] = ["none", "ngram-4", "neural", "pair", "path", "tree-16"];
const TOKENS = 48;

/** The drafts of the first prompt of some categories, step by step, as text. */
export async function exampleDrafts(
  names: readonly string[],
  traced: readonly { readonly set: SuiteSet; readonly trace: Trace }[],
  bundle: LoadedBundle,
  tune: StoredTune | null,
): Promise<Example[]> {
  const main = traced.find(({ set }) => set.name === MAIN_SET)?.trace;
  if (main === undefined) return [];
  const firsts = CATEGORIES.flatMap((name) => main.generations.find(({ category }) => category === name) ?? []);
  const examples: Example[] = [];
  const shown = METHODS.filter((method) => names.includes(method));
  const neural = await bundle.neural(shown.map((name) => suiteMethod(name, "", bundle.manifest, tune)));
  const model = { manifest: bundle.manifest, neural };
  for await (const { id, category, task, plain } of replayCases(firsts, model, TOKENS)) {
    const methods: Record<string, ExampleStep[]> = {};
    for (const name of shown) {
      const method = suiteMethod(name, category, bundle.manifest, tune);
      const steps: ExampleStep[] = [];
      const engine = recordSteps(task.engine, (token) => bundle.text.decode([token]), steps);
      await complete({ ...task, engine }, method, await bundle.parts([method]), plain.output);
      methods[name] = steps;
    }
    examples.push({ id, category, methods });
  }
  return examples;
}

/** The engine, every step's draft noted as text on the way through. */
function recordSteps(engine: StepEngine, textOf: (token: number) => string, into: ExampleStep[]): StepEngine {
  return {
    async open(spec, signal) {
      const session = await engine.open(spec, signal);
      return {
        ...session,
        close: () => session.close(),
        async step(index, draft, stepSignal) {
          const result = await session.step(index, draft, stepSignal);
          const path = firstPath(draft);
          const accepted = result.accepted.map((node) => draft.tokens[node]!);
          into.push({
            accepted: accepted.map(textOf),
            rejected: path.slice(accepted.length).map(textOf),
            bonus: textOf(result.bonus),
          });
          return result;
        },
      };
    },
  };
}
