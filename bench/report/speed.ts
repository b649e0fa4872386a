import { CONTEXTS, FLOPS_CONTEXT } from "../eval/hardware.ts";
import type { HardwareRow, LiveMethod, StoredLive, StoredReplay } from "../suite/stored.ts";
import { type Datum, type Figure, figureHtml, groupedBars } from "./charts.ts";
import { methodTitle, number, percent, range } from "./format.ts";
import { type Html, html, NOTHING, table } from "./html.ts";
import { type Section, sourceLine } from "./runs.ts";
import { SERIES } from "./style.ts";

interface LiveTask {
  readonly title: string;
  readonly short: string;
  readonly total: boolean;
  /** Of a set with several categories. */
  readonly main: boolean;
  readonly prompts: number;
  readonly methods: Readonly<Record<string, LiveMethod>>;
}

function liveTasks(live: StoredLive): LiveTask[] {
  return live.sets.flatMap(({ title, categories, overall }): LiveTask[] => {
    const groups = Object.entries(categories);
    if (groups.length === 0) return [];
    if (groups.length === 1) return [taskOf(title, title, groups[0]![1], {})];
    return [
      ...groups.map(([category, methods]) => taskOf(`${title}, ${category}`, category, methods, { main: true })),
      taskOf(`${title}, all`, `${title}, all`, overall, { main: true, total: true }),
    ];
  });
}

function taskOf(
  title: string,
  short: string,
  methods: LiveTask["methods"],
  { main = false, total = false }: { readonly main?: boolean; readonly total?: boolean },
): LiveTask {
  return { title, short, total, main, prompts: methods.ar?.prompts ?? 0, methods };
}

/** A method's speed over plain decoding's, and its interval. */
export function speedCell(method: LiveMethod | undefined): Html {
  const ratio = method?.speed_up ?? null;
  const kind = ratio === null || ratio === 1 ? "even" : ratio > 1 ? "gain" : "loss";
  return html`<span class="${kind}">${number(ratio)}×</span><small>${range(method?.speed_up_ci95)}</small>`;
}

/** Of the bars, as far as there are colours. */
const DRAWN = ["none", "pair", "path", "medusa-63", "tree", "prompt-lookup"];

/** Wall-clock speed of the model itself. */
export async function speedSection(live: StoredLive): Promise<Section> {
  const tasks = liveTasks(live);
  const names = [...new Set(tasks.flatMap(({ methods }) => Object.keys(methods)))];
  const drawn = DRAWN.filter((name) => names.includes(name)).slice(0, SERIES.length);
  const data = tasks.flatMap((task) =>
    (drawn.length > 0 ? drawn : names).flatMap((name): Datum[] => {
      const ratio = task.methods[name]?.speed_up ?? null;
      return ratio === null ? [] : [{ task: task.short, method: methodTitle(name), ratio }];
    }),
  );
  const figure: Figure = {
    name: `speed-up-${live.provider}`,
    caption: "Tokens per second over those of plain decoding (the dashed line), medians over prompts, by category.",
    svg: await groupedBars(data, { x: "task", y: "ratio", yTitle: "speed-up", series: "method" }),
  };
  const ofMain = tasks.filter(({ main }) => main);
  const others = tasks.filter(({ main }) => !main);
  const inMain = names.filter((name) => ofMain.some(({ methods }) => methods[name] !== undefined));
  const inOthers = names.filter((name) => name !== "ar" && others.some(({ methods }) => methods[name] !== undefined));
  return {
    id: `speed-${live.provider}`,
    title: `Methods on one engine, ${live.provider}`,
    figures: [figure],
    body: html`<p>Measured on ${live.cpu}, ${live.threads} threads, provider ${live.provider}, greedy, without the edge and the wire;
drafts as large as pays there (of a static tree its first nodes) and the default alpha, as the API serves them. Methods take turns
on each prompt; each answer is timed from its first token on; medians over prompts. llama.cpp runs the same weights in its own way;
its lookup copies from the prompt alone.</p>
${figureHtml(figure)}
${
  ofMain.length === 0
    ? NOTHING
    : table({
        caption: "Speed over plain decoding's and its 95 % interval; plain decoding in tokens per second.",
        columns: [
          "method",
          ...ofMain.map(({ short, prompts }) => html`${short}<br>${prompts} prompts`),
          "tokens/s",
          "block eff.",
        ],
        rows: inMain.map((name) => {
          const all = ofMain.at(-1)!.methods[name];
          const cell = ({ methods }: LiveTask) =>
            name === "ar" ? html`${number(methods.ar?.tokens_per_s, 1)}` : speedCell(methods[name]);
          return {
            head: methodTitle(name),
            cells: [...ofMain.map(cell), number(all?.tokens_per_s, 1), number(all?.block_efficiency)],
          };
        }),
      })
}
${
  others.length === 0
    ? NOTHING
    : table({
        caption: "The same for the other sets.",
        columns: ["set", "prompts", "plain, tokens/s", ...inOthers.map(methodTitle)],
        rows: others.map(({ title, methods, prompts }) => ({
          head: title,
          cells: [
            String(prompts),
            number(methods.ar?.tokens_per_s, 1),
            ...inOthers.map((name) => speedCell(methods[name])),
          ],
        })),
      })
}${sourceLine(live.run, live.sets)}`,
  };
}

/** Whether drafting leaves the texts, and so the task scores, alone. */
export function scoresSection(live: StoredLive | null, replay: StoredReplay | null): Section {
  const scored = (replay?.sets ?? []).flatMap(({ title, scores }) =>
    scores === null || scores === undefined
      ? []
      : Object.entries(scores.means).map(([score, mean]) => ({
          head: title,
          cells: [String(scores.answers), score.replaceAll("_", " "), number(100 * mean, 1)],
        })),
  );
  return {
    id: "scores",
    title: "The base model is unchanged",
    figures: [],
    body: html`${live === null ? NOTHING : sameTexts(live)}
${
  scored.length === 0 || replay === null
    ? NOTHING
    : html`${table({
        caption:
          "Task scores of the texts, the same by every method, %: SQuAD's exact match and F1, ROUGE-L F, LAMBADA's last word.",
        columns: ["task", "answers", "score", "%"],
        rows: scored,
      })}${sourceLine(replay.run, replay.sets)}`
}`,
  };
}

function sameTexts(live: StoredLive): Html {
  const tasks = liveTasks(live);
  const names = Object.keys(tasks.at(-1)?.methods ?? {});
  const { perplexity } = live;
  return html`<p>Every answer was also decoded plainly and compared token by token. A float tie is a difference where the two
tokens' logits are equal to within rounding.</p>
${table({
  caption: "Prompts whose answers are identical to plain decoding's.",
  columns: ["task", "prompts", ...names.map(methodTitle)],
  rows: tasks.map(({ title, methods, total, prompts }) => ({
    head: title,
    total,
    cells: [
      String(prompts),
      ...names.map((name) => {
        const { identical_to_plain: same = 0, float_ties: ties = 0 } = methods[name] ?? {};
        return ties > 0 ? `${same} (${ties} float ties)` : String(same);
      }),
    ],
  })),
})}
${
  perplexity === null
    ? NOTHING
    : html`<p>Perplexity of LAMBADA's last words (per word, ${perplexity.targets} passages): ${number(perplexity.plain, 4)} one token
at a time, ${number(perplexity.drafted, 4)} drafted and verified in one pass.</p>`
}${sourceLine(live.run, live.sets)}`;
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
