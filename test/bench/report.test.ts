import { describe, expect, test } from "vitest";
import type { MethodSummary } from "../../bench/eval/summary.ts";
import { gain, methodTitle, percent } from "../../bench/report/format.ts";
import { html, table, trusted } from "../../bench/report/html.ts";
import { renderReport } from "../../bench/report/page.ts";
import type { StoredReplay, StoredTune } from "../../bench/suite/stored.ts";

const RUN = {
  command: "npm run eval -- --suite replay",
  commit: "0123456789abcdef",
  changed_files: false,
  seed: 7,
  node: "v24",
  started: "",
};
const BUNDLE = { name: "toy", heads_sha256: "ab".repeat(32), lattice_heads: 2, top_k: 4, packs: [] };

function summary(efficiency: number, gained: number | null, ci: readonly [number, number] | null): MethodSummary {
  return {
    block_efficiency: efficiency,
    block_efficiency_ci95: [efficiency - 0.1, efficiency + 0.1],
    gain_over_none: gained,
    gain_over_none_ci95: ci,
    tokens: 100,
    steps: 60,
    prompts: 5,
    completions: 5,
    identical_to_plain: 5,
    float_ties: 0,
    output_tokens: 105,
    tokens_per_s: null,
    drafts: 60,
    drafted_tokens: 120,
    accepted_tokens: 40,
    drafted_by_position: [60, 60],
    accepted_by_position: [30, 10],
    repetition: {
      before: { rate: 0.25, mean_longest_run: 1.2, longest_run: 2 },
      after: { rate: 0.1, mean_longest_run: 1.1, longest_run: 2 },
    },
    copied: { tokens: 20, block_efficiency: 4 },
    fresh: { tokens: 80, block_efficiency: 1.5 },
    head_entropy_nats: [1, 2],
    h_max: 3,
  };
}

const methods = {
  ar: summary(1, null, null),
  none: summary(1.7, null, null),
  "ngram-4": summary(1.6, -0.06, [-0.1, -0.01]),
  "oracle-16": summary(3, 0.8, [0.7, 0.9]),
};
const replay: StoredReplay = {
  format: 1,
  kind: "replay",
  run: RUN,
  bundle: BUNDLE,
  sets: [
    {
      set: "squad_v1",
      title: "SQuAD v1",
      trace_command: "npm run eval -- --suite trace",
      prompts: 5,
      max_tokens: 64,
      categories: { squad_v1: methods },
      overall: {},
      alphas: {},
      scores: { answers: 5, means: { exact_match: 0.2 } },
    },
  ],
  h_max: {
    tasks: [{ name: "squad_v1", h_max: 3, block_efficiency: 1.7 }],
    prompts: [{ name: "x", h_max: 2, block_efficiency: 1.5 }],
    tasks_r: null,
    prompts_r: 0.5,
    tasks_r_ci95: null,
    prompts_r_ci95: [0.25, 0.75],
  },
  mt_bench: { writing: methods },
  reliability: { tree: { "depth 1": [{ nodes: 40, predicted: 30, accepted: 28 }] } },
  hardware: { set: "SQuAD v1", methods: {} },
  examples: [{ id: "e/1", category: "qa", methods: { none: [{ accepted: ["<b>"], rejected: [" no"], bonus: "\n" }] } }],
};
const tune: StoredTune = {
  format: 1,
  kind: "tune",
  run: { ...RUN, command: "npm run tune --", seed: null },
  bundle: BUNDLE,
  sources: [],
  result: {
    "ngram-4": {
      squad_v1: {
        prompts: 5,
        best_alpha: 0.2,
        block_efficiency: 1.8,
        gain_over_none: 0.06,
        by_alpha: { 0: 1.7, 0.2: 1.8 },
      },
    },
  },
  rank_shares: { heads: [[0.5]], recycled: [0.3] },
};

describe("the report", () => {
  test("is one file that loads nothing, and each section names its command, commit, seed and prompts", async () => {
    const { page, figures } = await renderReport({ replay, live: [], tune });
    expect(page).toMatch(/^<!doctype html>/);
    expect(page).not.toMatch(/<script|<link|<img|\bsrc=|@import|url\((?!#)/);
    expect(page).not.toMatch(/undefined|NaN|\[object/);
    for (const section of page.split("<section ").slice(1, -1)) {
      expect(section).toContain(`<code>${section.includes("npm run tune") ? "npm run tune --" : RUN.command}</code>`);
      expect(section).toMatch(/commit <code>0123456789<\/code>, (seed 7|nothing random), \d+ prompts/);
    }
    expect([...figures.keys()]).toEqual([
      "mt-bench",
      "oracle",
      "entropy",
      "h-max",
      "acceptance",
      "reliability",
      "alpha",
    ]);
  });

  test("leaves a section out for which there is no run", async () => {
    const { page } = await renderReport({ replay: null, live: [], tune });
    expect(page).toContain('id="alpha"');
    expect(page).not.toContain('id="rescoring"');
  });

  test("shows drafts as text, whatever they hold", async () => {
    const { page } = await renderReport({ replay, live: [], tune: null });
    expect(page).toContain('<span class="accepted">&lt;b&gt;</span><span class="bonus">⏎</span>');
    expect(page).toContain('<span class="rejected"> no</span>');
  });

  test("marks a loss by sign, word and colour, and a sure one as sure", () => {
    expect(gain(methods["ngram-4"]).text).toBe('<span class="loss sure">▼ −6.0 %</span>');
    expect(gain(summary(1, 0.02, [-0.01, 0.05])).text).toBe('<span class="gain">▲ +2.0 %</span>');
    expect(gain(summary(1, 0.0001, [0, 1])).text).toContain("even");
  });
});

test("methods are named as in the paper", () => {
  expect(["none", "ngram-4", "ngram-4-16best", "0gram-16best", "ngram-4@self", "oracle-2"].map(methodTitle)).toEqual([
    "BPD",
    "4-gram",
    "16-best 4-gram",
    "16-best 0-gram",
    "4-gram, pack self",
    "oracle, top 2",
  ]);
  expect(["pair", "path-lm", "path-lm-no-pair", "path-4best-pair", "tree-16-no-pair", "tree"].map(methodTitle)).toEqual(
    [
      "path of fitting pairs",
      "one calibrated path, without prompt",
      "one calibrated path, without prompt, without pairs",
      "4 calibrated paths, with pairs",
      "tree, 16 nodes, without pairs",
      "tree, 63 nodes",
    ],
  );
  expect([0.123, -0.5, 0, null].map((ratio) => percent(ratio))).toEqual(["+12.3 %", "−50.0 %", "0.0 %", "–"]);
});

test("html escapes what it is given, but for pieces that are html", () => {
  expect(html`<p>${'<"&'}${trusted("<b>")}${[html`${1}`, html`${"'"}`]}</p>`.text).toBe(
    "<p>&lt;&quot;&amp;<b>1&#39;</p>",
  );
  const { text } = table({ caption: "c", columns: ["a", "b"], rows: [{ head: "<", cells: ["2"], total: true }] });
  expect(text).toContain('<tr class="total"><th scope="row">&lt;</th><td>2</td></tr>');
});
