import { RESCORER_TYPES, type RescorerType, rescorerModule } from "../../shared/rescore/index.ts";
import { DEFAULT_METHODS, rescorerOf } from "../eval/methods.ts";
import type { ScoreKind } from "../eval/scores.ts";
import { LLAMA_METHODS } from "./llama-methods.ts";

/** One evaluation file as the suite uses it. */
export interface SuiteSet {
  readonly name: string;
  /** As the report calls it. */
  readonly title: string;
  /** Completion tokens per answer. */
  readonly maxTokens: number;
  /** The same in the live stage, where every method takes its time. */
  readonly liveTokens: number;
  /** Prompts of each category at scale 1: to tune on, to report, and to decode live. */
  readonly prompts: Readonly<Record<Split | "live", number>>;
  /** How answers are judged against the rows' references; null where there are none to judge by. */
  readonly score: ScoreKind | null;
}

export type Split = "tune" | "test";

const OTHER = { tune: 20, test: 60, live: 3 };

export const SETS: readonly SuiteSet[] = [
  {
    name: "spec_bench",
    title: "Spec-Bench",
    maxTokens: 128,
    liveTokens: 40,
    prompts: { tune: 12, test: 40, live: 10 },
    score: null,
  },
  other("lambada", "LAMBADA", 64, "last-word"),
  other("squad_v1", "SQuAD v1", 64, "squad"),
  other("cnn_dailymail", "CNN/DailyMail", 64, "rouge-l"),
  other("samsum", "SAMSum", 64, "rouge-l"),
  other("multi_news", "MultiNews", 64, "rouge-l"),
  other("xsum", "XSUM", 64, "rouge-l"),
  other("newsroom", "Newsroom", 64, "rouge-l"),
  other("humaneval", "HumanEval", 96, null),
  other("mbpp", "MBPP", 96, null),
  other("gsm8k", "GSM8K", 96, null),
  other("wikinews", "WikiNews", 64, null),
  other("wikitext", "WikiText", 64, null),
];

function other(name: string, title: string, maxTokens: number, score: ScoreKind | null): SuiteSet {
  return { name, title, maxTokens, liveTokens: 32, prompts: OTHER, score };
}

/** Prompts of each category to take at `scale`, at least one. */
export function promptCount(set: SuiteSet, use: Split | "live", scale: number): number {
  return Math.max(1, Math.round(set.prompts[use] * scale));
}

/** The set whose rows the hardware table and the example drafts are made from. */
export const MAIN_SET = "spec_bench";

/** Forms in which a rescorer is evaluated; any other one as it comes. */
const FORMS: Partial<Record<RescorerType, readonly string[]>> = {
  none: [],
  ngram: ["ngram-4-prompt", "ngram-4-16best-prompt"],
  path: ["path-lm-no-pair", "path-lm", "path-no-pair", "path"],
  tree: [
    ...["tree-16-heads", "tree-16-no-pair", "tree-16", "tree-32", "tree-63-no-pair", "tree"],
    ...["tree-16-recycled", "tree-recycled"],
  ],
};

/** What the replay stage runs unless told otherwise; packs are compared on top of it. */
export const SUITE_METHODS: readonly string[] = [
  ...DEFAULT_METHODS,
  ...RESCORER_TYPES.flatMap((type) => FORMS[type] ?? [type]),
  "medusa-16",
  "medusa-63",
  "medusa-63-neural",
  "prompt-lookup",
  "recycling-63",
  ...[2, 3, 4, 5, 6, 8, 10, 12, 16].map((k) => `oracle-${k}`),
];

/** Methods whose alpha is tuned: those that it does not only switch. */
export const TUNED_METHODS: readonly string[] = SUITE_METHODS.filter((name) => {
  const type = rescorerOf(name);
  if (type === null) return false;
  const { paramsSchema, calibrated } = rescorerModule(type);
  return "alpha" in paramsSchema.shape && !calibrated;
});

/** The table of methods that the live stage fills: plain decoding, every rescorer, and what there is beside them. */
export const LIVE_METHODS: readonly string[] = [
  "ar",
  "none",
  "ngram-4-prompt",
  "pair",
  "path",
  "tree",
  "neural",
  "medusa-63",
  "medusa-63-neural",
  "prompt-lookup",
  "recycling-63",
  ...LLAMA_METHODS,
];
