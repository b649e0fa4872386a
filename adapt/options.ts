import { parseArgs } from "node:util";
import { count } from "../bench/eval/options.ts";
import { isGiven } from "../models/given.ts";

export const ADAPT_HELP = `npm run adapt -- --model FILE.gguf --prompts P.jsonl --out DIR [options]
Makes what a model's drafts are better for, and a package of it: text by the model itself, draft heads (Python with torch),
an n-gram pack, calibration, weights, an evaluation. Stopped or cut off, the same command goes on.
  --model FILE      a GGUF file, or hf:OWNER/REPO/FILE.gguf
  --prompts FILE    JSONL, also .xz: rows with prompt, messages or turns, perhaps split (train, tune, test); may be repeated
  --out DIR         the package; beside it NAME.tar.gz, to be handed on
  --minutes N       for all of it (30); more later goes on from what is there
  --max-tokens N    of each answer (128)
  --python PROGRAM  with torch, for draft heads (FOREDRAFT_PYTHON, python3); --no-heads leaves them out
  --threads N       of the model
  --with-weights    the package holds the GGUF file too`;

export interface AdaptOptions {
  readonly model: string;
  readonly prompts: readonly string[];
  readonly out: string;
  readonly minutes: number;
  readonly maxTokens: number;
  /** null: no draft heads are wanted. */
  readonly python: string | null;
  readonly threads: number | null;
  readonly withWeights: boolean;
}

const LONGEST_MINUTES = 7 * 24 * 60;
const MOST_TOKENS = 1024;

/** null: help was asked for. Throws Error naming the option at fault. */
export function parseAdaptOptions(argv: readonly string[]): AdaptOptions | null {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      model: { type: "string" },
      prompts: { type: "string", multiple: true, default: [] as string[] },
      out: { type: "string" },
      minutes: { type: "string" },
      "max-tokens": { type: "string" },
      python: { type: "string", default: process.env.FOREDRAFT_PYTHON ?? "python3" },
      heads: { type: "boolean", default: true },
      threads: { type: "string" },
      "with-weights": { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
    allowNegative: true,
  });
  if (values.help) return null;
  const { model, prompts, out } = values;
  if (model === undefined || prompts.length === 0 || out === undefined) {
    throw new Error("--model FILE.gguf, --prompts FILE and --out DIR are needed (--help)");
  }
  if (!isGiven(model)) throw new Error(`--model takes a GGUF file or hf:OWNER/REPO/FILE.gguf, not "${model}"`);
  return {
    model,
    prompts,
    out,
    minutes: count("--minutes", values.minutes, LONGEST_MINUTES) ?? 30,
    maxTokens: count("--max-tokens", values["max-tokens"], MOST_TOKENS) ?? 128,
    python: values.heads ? values.python : null,
    threads: count("--threads", values.threads, 256),
    withWeights: values["with-weights"],
  };
}
