import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { startStack } from "../../scripts/stack.ts";
import { type Client, type Timed, timeAnswer } from "../decode/http.ts";
import { round } from "../decode/stats.ts";
import { count } from "../eval/options.ts";
import { Progress } from "../eval/progress.ts";
import { type EvalRow, readRows } from "../eval/rows.ts";

export const PREDICTION_HELP = `npm run bench -- prediction --prompts FILE [options]
Edits of code, greedy, over the full path: each row's reference is to be repeated with its function renamed; with the code as it was
as \`prediction\`, with the code as it is to be, without one, and without copies of the prompt either, in turn.
  --bundle NAME    (smollm2-135m)
  --prompts FILE   JSONL with references in Python, also .xz; may come again
  --per-category N the first N of each category (10)
  --max-tokens N   per answer (160)`;

/** One edit: what is asked, the code before and after. */
interface Edit {
  readonly content: string;
  readonly before: string;
  readonly after: string;
}

/** Block efficiency and speed by what is predicted; without copies there is no prediction, as that is copied from. */
export async function benchPrediction(args: readonly string[]): Promise<object> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      bundle: { type: "string", default: "smollm2-135m" },
      prompts: { type: "string", multiple: true },
      "per-category": { type: "string", default: "10" },
      "max-tokens": { type: "string", default: "160" },
    },
  });
  if (values.prompts === undefined) throw new Error("--prompts is needed: rows whose references are code");
  const { bundle } = values;
  const perCategory = count("--per-category", values["per-category"]);
  const maxTokens = count("--max-tokens", values["max-tokens"], 4096) ?? 160;
  const rows = await readRows(values.prompts, { split: null, limit: null, perCategory });
  const edits = rows.map(editOf).filter((edit) => edit !== null);
  if (edits.length === 0) throw new Error("no row has a Python function as its reference");
  const assetsDir = await mkdtemp(join(tmpdir(), "foredraft-bench-"));
  const bundleDir = await ensureBundle(bundle);
  const stack = await startStack({ bundle, bundleDir, assetsDir, rateLimit: { limit: 1_000_000, period: 60 } });
  const progress = new Progress(edits.length, "edits");
  try {
    const client = { url: stack.edge.url, model: bundle, key: null };
    const runs = new Map<string, Timed[]>();
    for (const [at, edit] of edits.entries()) {
      const kinds = kindsOf(edit);
      for (let i = 0; i < kinds.length; i++) {
        // Each is first as often as the others, as the first computes the prompt.
        const [name, ask] = kinds[(at + i) % kinds.length]!;
        runs.set(name, [...(runs.get(name) ?? []), await ask(client, maxTokens)]);
      }
      progress.step();
    }
    const settings = { bundle, edits: edits.length, max_tokens: maxTokens, cpu: cpus()[0]?.model ?? "" };
    return { ...Object.fromEntries([...runs].map(([name, timed]) => [name, total(timed)])), settings };
  } finally {
    progress.stop();
    await stack.close();
    await rm(assetsDir, { recursive: true, force: true });
  }
}

type Kind = readonly [name: string, ask: (client: Client, maxTokens: number) => Promise<Timed>];

function kindsOf({ content, before, after }: Edit): Kind[] {
  const ask =
    (speculation: object, prediction: string | null): Kind[1] =>
    (client, maxTokens) => {
      const more = prediction === null ? {} : { prediction: { type: "content", content: prediction } };
      return timeAnswer(client, { content }, maxTokens, speculation, more);
    };
  return [
    ["plain", ask({ enabled: false }, null)],
    ["no copies, no prediction", ask({ rescorer: { prompt: false } }, null)],
    ["no prediction", ask({}, null)],
    ["the code as it was", ask({}, before)],
    ["the code as it is to be", ask({}, after)],
  ];
}

/** null: the reference defines no function. */
function editOf({ input, references }: EvalRow): Edit | null {
  const [reference] = references;
  if (reference === undefined) return null;
  // HumanEval's references go on from its prompts.
  const before = `${input.kind === "prompt" ? input.prompt : ""}${reference}`.replaceAll("\r\n", "\n").trim();
  const name = /^def (\w+)\(/m.exec(before)?.[1];
  if (name === undefined) return null;
  const renamed = `${name}_v2`;
  const after = before.replaceAll(new RegExp(`\\b${name}\\b`, "g"), renamed);
  const content = `Repeat this code with the function ${name} renamed to ${renamed}. Answer with the code alone.\n\n${before}`;
  return { content, before, after };
}

function total(runs: readonly Timed[]): object {
  const tokens = runs.reduce((sum, run) => sum + run.tokens - 1, 0);
  const seconds = runs.reduce((sum, run) => sum + (run.tokens > 1 ? (run.tokens - 1) / run.tokensPerSecond : 0), 0);
  const steps = runs.reduce((sum, run) => sum + run.steps, 0);
  return { tokens_per_s: round(tokens / seconds), block_efficiency: round(tokens / steps), tokens, steps };
}
