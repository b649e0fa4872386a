import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Provider } from "../../gpu-worker/onnx/session.ts";
import { ROOT } from "../../scripts/paths.ts";
import { evaluationDir } from "../data/files.ts";
import { count, methodNames, providerOf } from "../eval/options.ts";
import { LIVE_METHODS, SETS, type Split, SUITE_METHODS, type SuiteSet } from "./sets.ts";

export const RESULTS = join(ROOT, "bench", "results");

/** The file of the live stage within the results, by provider. */
export const LIVE_FILES: Readonly<Record<Provider, string>> = {
  cpu: "live.json",
  webgpu: "live-webgpu.json",
  cuda: "live-cuda.json",
};

export const SUITE_HELP = `npm run eval -- --suite trace|replay|live [options]; in this order, npm run tune between the first two
  trace    run the model once, plainly, over every set and store what drafting needs in --traces (not for git)
  replay   every method over the stored traces of the test split, task scores -> bench/results/replay.json
  live     the model itself, and llama.cpp on the same weights: every method in turn on each prompt, tokens/s, texts
           compared with plain decoding -> bench/results/live.json; takes 15 minutes of a quiet machine with two cores
options
  --traces DIR    of trace files, written and read (.cache/traces)
  --data DIR      of the evaluation files (.cache/data, which npm run data fills)
  --split S       trace: tune or test (both)
  --sets A,B      only these: ${SETS.map((set) => set.name).join(",")}
  --scale X       times the usual number of prompts (1)
  --methods A,B   replay, live; "default" stands for the usual ones:
                  ${SUITE_METHODS.filter((name) => !name.startsWith("oracle")).join(",")}, oracles; live: ${LIVE_METHODS.join(",")}
  --tuned FILE    replay: the table of alphas; live: what static trees are shaped by (bench/results/tune.json)
  --bundle NAME   (smollm2-135m)
  --provider P    live: cpu, webgpu or cuda, stored as live-webgpu.json or live-cuda.json (cpu)
  --threads N     of the model (all)
  --streams N     trace: answers made at once (16)
  --seed N        of the confidence intervals (1)
  --out FILE      another place for the result`;

export const STAGES = ["trace", "replay", "live"] as const;
export type Stage = (typeof STAGES)[number];

export interface SuiteOptions {
  readonly stage: Stage;
  readonly traces: string;
  readonly data: string;
  readonly splits: readonly Split[];
  readonly sets: readonly SuiteSet[];
  readonly scale: number;
  /** null: the stage's own. */
  readonly methods: readonly string[] | null;
  readonly tuned: string;
  readonly bundle: string;
  readonly provider: Provider;
  readonly threads: number | null;
  readonly streams: number;
  readonly seed: number;
  readonly out: string | null;
}

/** null: help was asked for. Throws an Error naming the option at fault. */
export function parseSuiteOptions(argv: readonly string[]): SuiteOptions | null {
  const text = { type: "string" } as const;
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      traces: text,
      data: text,
      split: text,
      sets: text,
      scale: text,
      methods: text,
      tuned: text,
      bundle: text,
      provider: text,
      threads: text,
      streams: text,
      seed: text,
      out: text,
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return null;
  const stage = STAGES.find((name) => name === positionals[0]);
  if (stage === undefined || positionals.length > 1) throw new Error(`--suite: one of ${STAGES.join(", ")} (--help)`);
  const scale = Number(values.scale ?? 1);
  if (!(scale > 0 && scale <= 100)) throw new Error(`--scale: a number from 0 to 100, not "${values.scale}"`);
  return {
    stage,
    traces: values.traces ?? join(ROOT, ".cache", "traces"),
    data: values.data ?? evaluationDir(),
    splits: splitsOf(values.split),
    sets: setsOf(values.sets),
    scale,
    methods:
      values.methods === undefined
        ? null
        : withDefault(methodNames(values.methods), stage === "live" ? LIVE_METHODS : SUITE_METHODS),
    tuned: values.tuned ?? join(RESULTS, "tune.json"),
    bundle: values.bundle ?? "smollm2-135m",
    provider: providerOf(values.provider) ?? "cpu",
    threads: count("--threads", values.threads, 256),
    streams: count("--streams", values.streams, 64) ?? 16,
    seed: count("--seed", values.seed) ?? 1,
    out: values.out ?? null,
  };
}

function withDefault(names: readonly string[], usual: readonly string[]): string[] {
  return [...new Set(names.flatMap((name) => (name === "default" ? usual : [name])))];
}

function splitsOf(text: string | undefined): readonly Split[] {
  if (text === undefined) return ["tune", "test"];
  if (text === "tune" || text === "test") return [text];
  throw new Error(`--split is tune or test, not "${text}"`);
}

function setsOf(list: string | undefined): readonly SuiteSet[] {
  if (list === undefined) return SETS;
  return list.split(",").map((name) => {
    const set = SETS.find((candidate) => candidate.name === name);
    if (set === undefined)
      throw new Error(`--sets: unknown "${name}"; there are ${SETS.map((s) => s.name).join(", ")}`);
    return set;
  });
}
