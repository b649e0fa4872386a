import type { MethodSummary } from "../eval/summary.ts";
import { OVERALL, type StoredReplay, type StoredTune } from "../suite/stored.ts";
import { methodGroups } from "./breakdown.ts";
import { type Datum, type Figure, figureHtml, panels } from "./charts.ts";
import { gain, methodTitle, number, percent, range } from "./format.ts";
import { type Html, html, NOTHING, table } from "./html.ts";
import { type Section, sourceLine, tasksAndTotals } from "./runs.ts";

/** Block efficiency of every method, gains and losses over BPD marked. */
export function rescoringSection(replay: StoredReplay, tune: StoredTune | null): Section {
  const tasks = tasksAndTotals(replay);
  const { one, several, fixed, trees, pairs } = methodGroups(replay);
  return {
    id: "rescoring",
    title: "Refinement, task by task",
    figures: [],
    body: html`<p>Tokens committed per model call after prefill, the model's own included; plain decoding is 1. ▲ gains and ▼ losses
are against BPD on the same prompts; <strong>marked in bold</strong> where a paired bootstrap over prompts puts 95 % of the
gains on one side of zero, given five prompts or more. ${alphasUsed(replay, tune)}</p>
${methodTable("One path drafted", tasks, one)}
${methodTable("Several paths drafted", tasks, several)}
${methodTable("Static trees drafted, and what goes without heads", tasks, fixed)}
${methodTable("Trees drafted, and the best path of the lattice", tasks, trees)}
${methodTable("What pairs add", tasks, pairs)}${sourceLine(replay.run, replay.sets)}`,
  };
}

function otherHeads(tune: StoredTune, replay: StoredReplay | null): string {
  if (replay === null || tune.bundle.heads_sha256 === replay.bundle.heads_sha256) return "";
  return " These were tuned over an earlier version of the heads, and the replays above do not use them.";
}

/** A table tuned over other heads is not used by the replay. */
function alphasUsed({ bundle }: StoredReplay, tune: StoredTune | null): Html {
  return tune?.bundle.heads_sha256 === bundle.heads_sha256
    ? html`Each alpha is the one tuned for method and task on other prompts (<a href="#alpha">table</a>).`
    : html`Each alpha is the bundle's default.`;
}

function methodTable(what: string, tasks: ReturnType<typeof tasksAndTotals>, methods: readonly string[]): Html {
  if (methods.length === 0) return NOTHING;
  return table({
    caption: `${what}: block efficiency, its 95 % interval for BPD, and gain over BPD.`,
    columns: ["task", "prompts", "BPD", ...methods.map(methodTitle)],
    rows: tasks.map((task) => ({
      head: task.title,
      total: task.total,
      cells: [
        String(task.methods.none?.prompts ?? 0),
        html`${number(task.methods.none?.block_efficiency)}<small>${range(task.methods.none?.block_efficiency_ci95)}</small>`,
        ...methods.map((name) => methodCell(task.methods[name])),
      ],
    })),
  });
}

function methodCell(summary: MethodSummary | undefined): Html {
  if (summary === undefined) return html`–`;
  return html`${number(summary.block_efficiency)}<small>${gain(summary)}</small>`;
}

const REPETITION_METHODS = ["ngram-2", "ngram-3", "ngram-4", "pair", "neural"];

/** Equal neighbours within drafts, before and after. */
export function repetitionSection(replay: StoredReplay): Section {
  const tasks = tasksAndTotals(replay);
  const shown = REPETITION_METHODS.filter((name) => tasks.every(({ methods }) => methods[name] !== undefined));
  const rate = (value: number | undefined) => (value === undefined ? "–" : `${number(100 * value, 1)} %`);
  return {
    id: "repetition",
    title: "Repetition within drafts",
    figures: [],
    body: html`<p>Heads that do not see one another's choices repeat themselves. Counted within the best path of each draft:
neighbouring tokens that are equal, and the longest run of one token.</p>
${table({
  caption: "Share of equal neighbours | mean longest run (longest of all), before (each head's likeliest) and after.",
  columns: ["task", "before: BPD", ...shown.map((name) => `after: ${methodTitle(name)}`)],
  rows: tasks.map(({ title, methods, total }) => ({
    head: title,
    total,
    cells: [methods.none?.repetition.before, ...shown.map((name) => methods[name]?.repetition.after)].map((counts) =>
      counts
        ? html`${rate(counts.rate)}<small>${number(counts.mean_longest_run)} (${counts.longest_run})</small>`
        : "–",
    ),
  })),
})}${sourceLine(replay.run, replay.sets)}`,
  };
}

/** General against in-domain n-gram models. */
export function packsSection(replay: StoredReplay): Section | null {
  const tasks = tasksAndTotals(replay);
  const packs = Object.keys(tasks[0]?.methods ?? {}).filter((name) => name.includes("@"));
  if (packs.length === 0) return null;
  const size = (name: string) => {
    const pack = replay.bundle.packs.find((entry) => name.endsWith(`@${entry.name}`));
    return pack === undefined ? "" : `${number(pack.bytes / 2 ** 20, 1)} MiB`;
  };
  return {
    id: "packs",
    title: "General and in-domain n-gram models",
    figures: [],
    body: html`<p>The same rescorer with each n-gram pack of the bundle, at the alpha of the default pack. The best pack of
a task is marked ★.</p>
${table({
  caption: "Block efficiency and gain over BPD, by pack.",
  columns: ["task", ...packs.map((name) => html`${methodTitle(name)}<br>${size(name)}`)],
  rows: tasks.map(({ title, methods, total }) => {
    const most = Math.max(...packs.map((name) => methods[name]?.block_efficiency ?? 0));
    return {
      head: title,
      total,
      cells: packs.map((name) => {
        const star = methods[name]?.block_efficiency === most && packs.length > 1 ? html`★ ` : NOTHING;
        return html`${star}${methodCell(methods[name])}`;
      }),
    };
  }),
})}${sourceLine(replay.run, replay.sets)}`,
  };
}

/** A set of one category goes by its title, as in the other tables. */
function groupTitle(group: string, tune: StoredTune): string {
  return group === OVERALL ? "all tasks" : (tune.sources.find(({ set }) => set === group)?.title ?? group);
}

/** The tuned weights, and how flat the choice is. */
export async function alphaSection(tune: StoredTune, replay: StoredReplay | null): Promise<Section> {
  const methods = Object.entries(tune.result);
  const groups = Object.keys(methods[0]?.[1] ?? {});
  const data = groups.flatMap((group) =>
    methods.flatMap(([name, tuned]) => {
      const found = tuned[group];
      if (found === undefined) return [];
      const base = found.block_efficiency / (1 + found.gain_over_none);
      return Object.entries(found.by_alpha).map(
        ([alpha, efficiency]): Datum => ({
          task: groupTitle(group, tune),
          method: methodTitle(name),
          alpha: Number(alpha),
          gain: 100 * (efficiency / base - 1),
          mark: Number(alpha) === found.best_alpha ? 1 : 0,
        }),
      );
    }),
  );
  const figure: Figure = {
    name: "alpha",
    caption: "Gain in block efficiency over BPD on the tune split, %, by alpha; the ring is the best.",
    svg: await panels(
      data,
      { x: "alpha", y: "gain", xTitle: "alpha", yTitle: "gain, %" },
      { panel: "task", series: "method", xStep: 0.1 },
    ),
  };
  const prompts = (group: string) => methods[0]?.[1][group]?.prompts ?? 0;
  return {
    id: "alpha",
    title: "Weight of the language model: alpha",
    figures: [figure],
    body: html`<p>Tuned for each method and task on prompts that are not reported on. A task with fewer than five tune prompts is
reported with the alpha of all tasks together.${otherHeads(tune, replay)}</p>
${table({
  caption: "Best alpha, and its gain over BPD on the tune split.",
  columns: ["task", "prompts", ...methods.map(([name]) => methodTitle(name))],
  rows: groups.map((group) => ({
    head: groupTitle(group, tune),
    total: group === OVERALL,
    cells: [
      String(prompts(group)),
      ...methods.map(([, tuned]) => {
        const found = tuned[group];
        return found ? html`${number(found.best_alpha)}<small>${percent(found.gain_over_none)}</small>` : "–";
      }),
    ],
  })),
})}${figureHtml(figure)}${sourceLine(tune.run, tune.sources)}`,
  };
}
