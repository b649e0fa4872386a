import { parseArgs } from "node:util";
import { PROVIDERS, type Provider } from "../../gpu-worker/onnx/session.ts";
import { LIMITS } from "../../shared/limits.ts";
import { DEFAULT_METHODS } from "./methods.ts";
import type { Distance } from "./what-if.ts";

export const EVAL_HELP = `npm run eval -- --prompts FILE [--prompts FILE ...] [options]
  --prompts FILE      JSONL, also .xz: rows with prompt, messages or turns, and perhaps category, split, id
  --bundle NAME       the model, or a GGUF file of one (FOREDRAFT_BUNDLE, smollm2-135m)
  --methods A,B       ${DEFAULT_METHODS.join(",")}
                      also ngram-N-Pbest, 0gram-Pbest, ngram-N-prompt, ngram-N-Pbest-prompt, tree, tree-NODES,
                      tree-NODES-heads, tree-NODES-recycled, path, path-Pbest, path-lm (these also with -pair or -no-pair),
                      pair, pair-Pbest, neural, oracle-K, prompt-lookup, and static trees shaped by what npm run tune counted:
                      medusa-NODES, medusa-NODES-neural, recycling-NODES
  --max-tokens N      completion tokens per answer (128)
  --limit N           the first N rows;  --per-category N  the first N of each category
  --split tune|test   only these rows
  --alpha X           weight of the n-gram or neural model (the bundle's default)
  --pack NAME         n-gram pack (one of the method's order)
  --heads N --top-k N the first N lattice rows, columns (all)
  --max-nodes N       drafted tokens per step at most, for every method (63)
  --calibration FILE  in place of the bundle's, for tree
  --auto-nodes        drafts as large as pays here, as the served API has them (always whole); for live runs
  --save-trace FILE   run the model once, plainly, store what drafting needs, and replay the methods over it
  --replay FILE       replay the methods over a stored trace: no model, no prompts; with --bundle FILE if it is of a file of yours
  --rtt MS --step-ms MS  with --replay: also what drafting at the edge, beside the model, and auto would give there
  --provider P        ${PROVIDERS.join(", ")};  --threads N  model threads
  --seed N            of the confidence intervals (1)
  --out FILE          also write counts per prompt and the settings, JSON
  --json              end with one line of JSON
npm run eval -- --suite STAGE   the whole evaluation over many sets (npm run eval -- --suite --help)`;

export interface EvalOptions {
  readonly prompts: readonly string[];
  readonly bundle: string;
  readonly methods: readonly string[];
  /** null: 128, or as many as the trace has. */
  readonly maxTokens: number | null;
  readonly limit: number | null;
  readonly perCategory: number | null;
  readonly split: string | null;
  readonly alpha: number | null;
  readonly pack: string | null;
  readonly heads: number | null;
  readonly topK: number | null;
  readonly maxNodes: number | null;
  /** A file. */
  readonly calibration: string | null;
  readonly autoNodes: boolean;
  readonly seed: number;
  readonly saveTrace: string | null;
  readonly replay: string | null;
  /** The model of the trace, where its name alone does not lead to it. */
  readonly replayed: string | null;
  /** What placements are compared for; null: they are not. */
  readonly distance: Distance | null;
  readonly provider: Provider | null;
  readonly threads: number | null;
  readonly out: string | null;
  readonly json: boolean;
}

/** null: help was asked for. Throws an Error naming the option at fault. */
export function parseEvalOptions(argv: readonly string[]): EvalOptions | null {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: [...argv],
    options: {
      prompts: { type: "string", multiple: true, default: [] as string[] },
      bundle: text,
      methods: text,
      "max-tokens": text,
      limit: text,
      "per-category": text,
      split: text,
      alpha: text,
      pack: text,
      heads: text,
      "top-k": text,
      "max-nodes": text,
      calibration: text,
      "auto-nodes": { type: "boolean", default: false },
      seed: text,
      "save-trace": text,
      replay: text,
      rtt: text,
      "step-ms": text,
      provider: text,
      threads: text,
      out: text,
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return null;
  const replay = values.replay ?? null;
  if (replay === null && values.prompts.length === 0)
    throw new Error("--prompts FILE or --replay FILE is needed (--help lists all)");
  if (replay !== null && (values.prompts.length > 0 || values["save-trace"] !== undefined)) {
    throw new Error("--replay reads its prompts from the trace: leave --prompts and --save-trace out");
  }
  if (values["auto-nodes"] && (replay !== null || values["save-trace"] !== undefined))
    throw new Error("--auto-nodes needs the model's own times, which a trace has not");
  const methods = values.methods === undefined ? [...DEFAULT_METHODS] : methodNames(values.methods);
  return {
    prompts: values.prompts,
    bundle: values.bundle ?? process.env.FOREDRAFT_BUNDLE ?? "smollm2-135m",
    methods,
    maxTokens: count("--max-tokens", values["max-tokens"], LIMITS.contextTokens),
    limit: count("--limit", values.limit),
    perCategory: count("--per-category", values["per-category"]),
    split: values.split ?? null,
    alpha: fraction("--alpha", values.alpha),
    pack: values.pack ?? null,
    heads: count("--heads", values.heads, LIMITS.latticeHeads),
    topK: count("--top-k", values["top-k"], LIMITS.topK),
    maxNodes: count("--max-nodes", values["max-nodes"], LIMITS.draftNodes),
    calibration: values.calibration ?? null,
    autoNodes: values["auto-nodes"],
    seed: count("--seed", values.seed) ?? 1,
    saveTrace: values["save-trace"] ?? null,
    replay,
    replayed: values.bundle ?? null,
    distance: distanceOf(values.rtt, values["step-ms"], replay !== null),
    provider: providerOf(values.provider),
    threads: count("--threads", values.threads, 256),
    out: values.out ?? null,
    json: values.json,
  };
}

/** Names separated by commas. Throws an Error where one is empty or repeated. */
export function methodNames(list: string): string[] {
  const names = list.split(",").map((name) => name.trim());
  if (names.some((name, i) => name === "" || names.indexOf(name) !== i))
    throw new Error("--methods: empty or repeated name");
  return names;
}

/** A whole number from 1 to `high`; null where the option is not given. */
export function count(option: string, text: string | undefined, high = 2 ** 31 - 1): number | null {
  if (text === undefined) return null;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > high)
    throw new Error(`${option}: a whole number from 1 to ${high}, not "${text}"`);
  return value;
}

/** null where the option is not given. */
export function fraction(option: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value <= 1))
    throw new Error(`${option}: a number from 0 to 1, not "${text}"`);
  return value;
}

function distanceOf(rtt: string | undefined, step: string | undefined, replayed: boolean): Distance | null {
  if (rtt === undefined && step === undefined) return null;
  if (!replayed) throw new Error("--rtt and --step-ms need --replay: live runs are timed by npm run bench -- distance");
  if (rtt === undefined || step === undefined) throw new Error("--rtt and --step-ms belong together");
  return { rttMs: milliseconds("--rtt", rtt, 0), stepMs: milliseconds("--step-ms", step, 0.001) };
}

function milliseconds(option: string, text: string, low: number): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= low && value <= 10_000))
    throw new Error(`${option}: from ${low} to 10000 ms, not "${text}"`);
  return value;
}

export function providerOf(text: string | undefined): Provider | null {
  if (text === undefined) return null;
  const provider = PROVIDERS.find((name) => name === text);
  if (provider === undefined) throw new Error(`--provider is one of ${PROVIDERS.join(", ")}, not "${text}"`);
  return provider;
}
