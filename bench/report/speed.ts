import { CONTEXTS, FLOPS_CONTEXT } from "../eval/hardware.ts";
import type { HardwareRow, LiveMethod, StoredLive, StoredReplay } from "../suite/stored.ts";
import { type Datum, type Figure, figureHtml, groupedBars } from "./charts.ts";
import { methodTitle, number, percent } from "./format.ts";
import { html, NOTHING, table } from "./html.ts";
import { type Section, sourceLine } from "./runs.ts";

interface LiveTask {
  readonly title: string;
  readonly short: string;
  readonly total: boolean;
  readonly methods: Readonly<Record<string, LiveMethod>>;
}

function liveTasks(live: StoredLive): LiveTask[] {
  return live.sets.flatMap(({ title, categories, overall }): LiveTask[] => {
    const groups = Object.entries(categories);
    if (groups.length === 0) return [];
    if (groups.length === 1) return [{ title, short: title, total: false, methods: groups[0]![1] }];
    return [
      ...groups.map(([category, methods]) => ({
        title: `${title}, ${category}`,
        short: category,
        total: false,
        methods,
      })),
      { title: `${title}, all`, short: `${title}, all`, total: true, methods: overall },
    ];
  });
}

function speedUp({ methods }: LiveTask, name: string): number | null {
  const plain = methods.ar?.tokens_per_s ?? null;
  const fast = methods[name]?.tokens_per_s ?? null;
  return plain === null || fast === null ? null : fast / plain;
}

/** Wall-clock speed of the model itself. */
export async function speedSection(live: StoredLive): Promise<Section> {
  const tasks = liveTasks(live);
  const drafted = Object.keys(tasks[0]?.methods ?? {}).filter((name) => name !== "ar");
  const data = tasks.flatMap((task) =>
    drafted.flatMap((name): Datum[] => {
      const ratio = speedUp(task, name);
      return ratio === null ? [] : [{ task: task.short, method: methodTitle(name), ratio }];
    }),
  );
  const figure: Figure = {
    name: `speed-up-${live.provider}`,
    caption: "Tokens per second over those of plain decoding (the dashed line), by category.",
    svg: await groupedBars(data, { x: "task", y: "ratio", yTitle: "speed-up", series: "method" }),
  };
  return {
    id: `speed-${live.provider}`,
    title: `Speed-up by category, ${live.provider}`,
    figures: [figure],
    body: html`<p>Measured on ${live.cpu}, ${live.threads} threads, provider ${live.provider}, greedy, without the edge and the wire;
drafts as large as pays there and the default alpha, as the API serves them. Each answer is timed from its first token on.</p>
${figureHtml(figure)}
${table({
  caption: "Tokens per second, and the ratio to plain decoding.",
  columns: ["task", "prompts", methodTitle("ar"), ...drafted.map(methodTitle)],
  rows: tasks.map((task) => ({
    head: task.title,
    total: task.total,
    cells: [
      String(task.methods.ar?.prompts ?? 0),
      number(task.methods.ar?.tokens_per_s, 1),
      ...drafted.map((name) => {
        const ratio = speedUp(task, name);
        const kind = ratio === null || ratio === 1 ? "even" : ratio > 1 ? "gain" : "loss";
        return html`${number(task.methods[name]?.tokens_per_s, 1)}<small><span class="${kind}">${number(ratio)}×</span></small>`;
      }),
    ],
  })),
})}${sourceLine(live.run, live.sets)}`,
  };
}

/** Whether drafting leaves the texts, and so the task scores, alone. */
export function scoresSection(live: StoredLive): Section {
  const tasks = liveTasks(live);
  const names = Object.keys(tasks[0]?.methods ?? {});
  const scored = tasks.flatMap(({ title, methods }) =>
    Object.keys(methods.ar?.scores ?? {}).map((score) => ({ title, score, methods })),
  );
  const { perplexity } = live;
  return {
    id: "scores",
    title: "The base model is unchanged",
    figures: [],
    body: html`<p>Every answer was also decoded plainly and compared token by token. A float tie is a difference where the two
tokens' logits are equal to within rounding.</p>
${table({
  caption: "Prompts whose answers are identical to plain decoding's.",
  columns: ["task", "prompts", ...names.map(methodTitle)],
  rows: tasks.map(({ title, methods, total }) => ({
    head: title,
    total,
    cells: [
      String(methods.ar?.prompts ?? 0),
      ...names.map((name) => {
        const { identical_to_plain: same = 0, float_ties: ties = 0 } = methods[name] ?? {};
        return ties > 0 ? `${same} (${ties} float ties)` : String(same);
      }),
    ],
  })),
})}
${table({
  caption: "Task scores, %: SQuAD's exact match and F1, ROUGE-L F, LAMBADA's last word.",
  columns: ["task", "score", ...names.map(methodTitle)],
  rows: scored.map(({ title, score, methods }) => ({
    head: title,
    cells: [score.replaceAll("_", " "), ...names.map((name) => number(100 * (methods[name]?.scores[score] ?? NaN), 1))],
  })),
})}
${
  perplexity === null
    ? NOTHING
    : html`<p>Perplexity of LAMBADA's last words (per word, ${perplexity.targets} passages): ${number(perplexity.plain, 4)} one token
at a time, ${number(perplexity.drafted, 4)} drafted and verified in one pass.</p>`
}${sourceLine(live.run, live.sets)}`,
  };
}

/** What a text costs in bytes moved and arithmetic, by the paper's model. */
export function hardwareSection(replay: StoredReplay): Section {
  const rows = Object.entries(replay.hardware.methods);
  const plain = replay.hardware.methods.ar;
  const relative = (value: number, of: (row: HardwareRow) => number) =>
    plain === undefined ? NOTHING : html`<small>${percent(value / of(plain) - 1, 0)}</small>`;
  return {
    id: "hardware",
    title: "Bytes moved and arithmetic",
    figures: [],
    body: html`<p>The hardware model of the paper, from counted steps and rows and the bundle's dimensions, for the mean text of
${replay.hardware.set}: parameters read in each pass, keys and values read in each pass at a fixed context length, operations at
a context of ${FLOPS_CONTEXT}. Prefill is left out. Below each number its change against autoregressive decoding. Drafted rows
cost arithmetic; steps saved save reading.</p>
${table({
  caption: `Mean per text of ${replay.hardware.set}.`,
  columns: [
    "method",
    "block efficiency",
    "steps",
    "rows per step",
    "parameter I/O, GB",
    ...CONTEXTS.map((context) => `KV I/O at ${context}, GB`),
    "FLOPs, T",
  ],
  rows: rows.map(([name, row]) => ({
    head: methodTitle(name),
    cells: [
      number(row.block_efficiency),
      number(row.steps, 1),
      number(1 + row.drafted_nodes / row.steps, 1),
      html`${number(row.parameter_io_gb)}${relative(row.parameter_io_gb, (r) => r.parameter_io_gb)}`,
      ...CONTEXTS.map((context) => {
        const value = row.kv_io_gb[context] ?? NaN;
        return html`${number(value, 3)}${relative(value, (r) => r.kv_io_gb[context] ?? NaN)}`;
      }),
      html`${number(row.flops_t, 3)}${relative(row.flops_t, (r) => r.flops_t)}`,
    ],
  })),
})}${sourceLine(
  replay.run,
  replay.sets.filter(({ title }) => title === replay.hardware.set),
)}`,
  };
}
