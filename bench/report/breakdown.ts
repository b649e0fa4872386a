import type { StoredLive, StoredLiveCategories, StoredReplay } from "../suite/stored.ts";
import { type Datum, type Figure, figureHtml, groupedBars } from "./charts.ts";
import { gain, methodTitle, number, range } from "./format.ts";
import { type Html, html, NOTHING, table } from "./html.ts";
import { draftMethods, type Section, sourceLine, tasksAndTotals } from "./runs.ts";
import { speedCell } from "./speed.ts";

const COPY_METHODS = [
  "none",
  "ngram-4",
  "ngram-4-prompt",
  "pair",
  "path",
  "tree-16",
  "tree",
  "prompt-lookup",
  "oracle-16",
];

/** Copying told from foresight. */
export function copiedSection(replay: StoredReplay): Section {
  const tasks = tasksAndTotals(replay);
  const shown = COPY_METHODS.filter((name) => tasks.every(({ methods }) => methods[name] !== undefined));
  return {
    id: "copied",
    title: "Copying, and the rest",
    figures: [],
    body: html`<p>A token is <em>copied</em> here where it ends an 8-gram that prompt and answer have had before. Each step is shared out
equally among the tokens it committed, so that both parts have a block efficiency of their own. Copies are easy for whoever looks at
the prompt; what a method foresees shows in the other tokens.</p>
${table({
  caption: "Block efficiency of copied | all other tokens.",
  columns: ["task", "copied", ...shown.map(methodTitle)],
  rows: tasks.map(({ title, methods, total }) => {
    const { copied, tokens = 0 } = methods.none ?? {};
    return {
      head: title,
      total,
      cells: [
        `${number((100 * (copied?.tokens ?? 0)) / tokens, 0)} %`,
        ...shown.map((name) => {
          const own = methods[name];
          return html`${number(own?.copied.block_efficiency)}<small>${number(own?.fresh.block_efficiency)}</small>`;
        }),
      ],
    };
  }),
})}${sourceLine(replay.run, replay.sets)}`,
  };
}

const MT_METHODS = [
  "ngram-4",
  "neural",
  "pair",
  "path",
  "medusa-63",
  "medusa-63-neural",
  "tree-16",
  "tree",
  "oracle-16",
];
/** Those of the paper's figure, and the served default. */
const MT_DRAWN = ["none", "neural", "medusa-63", "medusa-63-neural", "tree"];

/** The categories that the paper's figure has: block efficiency, and speed where `live` is of the same heads. */
export async function mtBenchSection(replay: StoredReplay, live: StoredLive | null): Promise<Section | null> {
  const groups = Object.entries(replay.mt_bench ?? {});
  if (groups.length === 0) return null;
  const timed = live?.bundle.heads_sha256 === replay.bundle.heads_sha256 ? (live.mt_bench ?? null) : null;
  const bars = (of: (category: string, name: string) => number | null | undefined) =>
    groups.flatMap(([task]) =>
      MT_DRAWN.flatMap((name): Datum[] => {
        const value = of(task, name);
        return value == null ? [] : [{ task, method: methodTitle(name), value }];
      }),
    );
  const draw = async (name: string, caption: string, yTitle: string, data: readonly Datum[]) => {
    if (data.length === 0) return [];
    const svg = await groupedBars(data, { x: "task", y: "value", yTitle, series: "method" });
    return [{ name, caption, svg } satisfies Figure];
  };
  const figures = [
    ...(await draw(
      "mt-bench",
      "Block efficiency; 1 (dashed) is plain decoding.",
      "block efficiency",
      bars((category, name) => replay.mt_bench?.[category]?.[name]?.block_efficiency),
    )),
    ...(await draw(
      "mt-bench-speed",
      "Speed, drafts as large as pays: median over prompts of tokens per second over those of plain decoding (dashed).",
      "speed-up",
      bars((category, name) => timed?.[category]?.[name]?.speed_up),
    )),
  ];
  const shown = MT_METHODS.filter((name) => groups.every(([, methods]) => methods[name] !== undefined));
  return {
    id: "mt-bench",
    title: "MT-Bench by category",
    figures,
    body: html`<p>The questions of Spec-Bench that are MT-Bench's, by MT-Bench's own categories. Few prompts each: mind the intervals.
Medusa's tree has the same shape in every step, chosen on other prompts by how often each rank of each head is right; the
calibrated trees are chosen anew in every step.</p>
${figures.map(figureHtml)}
${table({
  caption: "Block efficiency, its 95 % interval for BPD, and gain over BPD.",
  columns: ["category", "prompts", "BPD", ...shown.map(methodTitle)],
  rows: groups.map(([category, methods]) => ({
    head: category,
    cells: [
      String(methods.none?.prompts ?? 0),
      html`${number(methods.none?.block_efficiency)}<small>${range(methods.none?.block_efficiency_ci95)}</small>`,
      ...shown.map((name) => {
        const own = methods[name]!;
        return html`${number(own.block_efficiency)}<small>${gain(own)}</small>`;
      }),
    ],
  })),
})}${timed === null ? NOTHING : mtSpeedTable(timed)}${sourceLine(
  replay.run,
  replay.sets.filter(({ set }) => set === "spec_bench"),
)}${
  timed === null || live === null
    ? NOTHING
    : sourceLine(
        live.run,
        Object.values(timed).map((methods) => ({ prompts: methods.ar?.prompts ?? 0 })),
      )
}`,
  };
}

function mtSpeedTable(groups: StoredLiveCategories): Html {
  const shown = MT_DRAWN.filter((name) => Object.values(groups).every((methods) => methods[name] !== undefined));
  return table({
    caption: "Speed over plain decoding's and its 95 % interval, medians over prompts.",
    columns: ["category", "prompts", "plain, tokens/s", ...shown.map(methodTitle)],
    rows: Object.entries(groups).map(([category, methods]) => ({
      head: category,
      cells: [
        String(methods.ar?.prompts ?? 0),
        number(methods.ar?.tokens_per_s, 1),
        ...shown.map((name) => speedCell(methods[name])),
      ],
    })),
  });
}

/** What is no single path through the lattice, and bounds. */
const SEVERAL = /^tree|best|^prompt-lookup$|^oracle|^medusa|^recycling/;

const PAIR = "pair";
const WITHOUT_PAIRS = "-no-pair";

/**
 * The methods of a run in tables that fit a page: one path, several, what knows no chances, trees beside the bound of one path,
 * and pairs: alone, and what was drafted both without them and with them (but paths without the prompt, whose columns no page has room for).
 */
export function methodGroups(replay: StoredReplay): {
  readonly one: string[];
  readonly several: string[];
  readonly fixed: string[];
  readonly trees: string[];
  readonly pairs: string[];
} {
  const all = draftMethods(replay).filter((name) => name !== "none");
  const methods = all.filter((name) => !name.endsWith(WITHOUT_PAIRS));
  const without = all.filter((name) => name.endsWith(WITHOUT_PAIRS) && !name.startsWith("path-lm"));
  // The largest tree goes without its size where it is served.
  const both = without.flatMap((name) => [name, name.slice(0, -WITHOUT_PAIRS.length).replace("tree-63", "tree")]);
  const oracle = tasksAndTotals(replay)[0]?.methods["oracle-16"] === undefined ? [] : ["oracle-16"];
  return {
    one: methods.filter((name) => !SEVERAL.test(name) && name !== PAIR),
    several: methods.filter((name) => /best/.test(name)),
    fixed: methods.filter((name) => /^medusa|^prompt-lookup$|^recycling/.test(name)),
    trees: [...methods.filter((name) => name.startsWith("tree")), ...oracle],
    pairs: [...methods.filter((name) => name === PAIR), ...both],
  };
}
