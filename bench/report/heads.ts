import type { HmaxPoint } from "../eval/entropy.ts";
import type { MethodSummary } from "../eval/summary.ts";
import type { StoredReplay } from "../suite/stored.ts";
import { type Datum, type Figure, figureHtml, panels, scatter } from "./charts.ts";
import { methodTitle, number, range } from "./format.ts";
import { html, table } from "./html.ts";
import { type Section, sourceLine, tasksAndTotals, tasksOf } from "./runs.ts";
import { SERIES } from "./style.ts";

/** Entropy of each head, and whether what the heads are sure of is what gets accepted. */
export async function entropySection(replay: StoredReplay): Promise<Section> {
  const tasks = tasksOf(replay);
  const data = tasks.flatMap(({ short, methods }): Datum[] => {
    const none = methods.none;
    return (none?.head_entropy_nats ?? []).map((entropy, row) => ({
      task: short,
      head: row + 2,
      entropy,
      mark: none?.h_max === row + 2 ? 1 : 0,
    }));
  });
  const curves: Figure = {
    name: "entropy",
    caption:
      "Mean entropy of each draft head, nats, over the steps of BPD; the ring is h_max, the last head up to which it " +
      "rises. Only the listed candidates are seen, the rest of the mass counting as one outcome: a lower bound.",
    svg: await panels(
      data,
      { x: "head", y: "entropy", xTitle: "head", yTitle: "entropy" },
      { panel: "task", series: null, xStep: 1 },
    ),
  };
  const { h_max, run, sets } = replay;
  const titles = new Map(tasks.map(({ category, short }) => [category, short]));
  const large = spaceLabels(h_max.tasks.map((point) => datum(point, titles.get(point.name) ?? point.name)));
  const small = h_max.prompts.map((point, i) => datum({ ...point, h_max: point.h_max + spread(i) }, point.name));
  const points: Figure = {
    name: "h-max",
    caption:
      `h_max against block efficiency of BPD: tasks (r = ${number(h_max.tasks_r)}, 95 % interval ${range(h_max.tasks_r_ci95)}, ` +
      `n = ${h_max.tasks.length}) and single prompts (grey, spread sideways; r = ${number(h_max.prompts_r)}, ` +
      `${range(h_max.prompts_r_ci95)}, n = ${h_max.prompts.length}).`,
    svg: await scatter(small, large, { x: "h_max", y: "be", xTitle: "h_max (head)", yTitle: "block efficiency" }),
  };
  return {
    id: "entropy",
    title: "How sure the heads are",
    figures: [curves, points],
    body: html`<p>The later a head, the less it knows. Kim et al. found that the last head up to which mean entropy still
rises, h_max, goes with block efficiency: heads beyond it have stopped distinguishing positions.</p>
${figureHtml(curves)}${figureHtml(points)}${sourceLine(run, sets)}`,
  };
}

interface Point extends Datum {
  readonly name: string;
  readonly h_max: number;
  readonly be: number;
}

function datum({ h_max, block_efficiency }: HmaxPoint, name: string): Point {
  return { name, h_max, be: block_efficiency };
}

/** Within a third of a head, the same at every drawing: fractional parts of multiples of the golden ratio. */
function spread(i: number): number {
  return (((i * 0.618034) % 1) - 0.5) / 1.5;
}

/** Labels of the least distance that can be read, as a share of the range of all. */
const LABEL_GAP = 0.04;

/** Points, each with where its label goes: names at the same head are moved up until none covers another. */
function spaceLabels(points: readonly Point[]): Datum[] {
  const heights = points.map((point) => point.be);
  const gap = LABEL_GAP * (Math.max(...heights) - Math.min(...heights));
  const lastAt = new Map<number, number>();
  return points
    .toSorted((a, b) => a.be - b.be)
    .map((point) => {
      const labelAt = Math.max(point.be, (lastAt.get(point.h_max) ?? -Infinity) + gap);
      lastAt.set(point.h_max, labelAt);
      return { ...point, labelAt };
    });
}

/** What the best choice within the lattice would reach, by its number of columns. */
export async function oracleSection(replay: StoredReplay): Promise<Section> {
  const ks = Object.keys(tasksOf(replay)[0]?.methods ?? {}).flatMap((name) => {
    const k = /^oracle-(\d+)$/.exec(name);
    return k === null ? [] : [Number(k[1])];
  });
  const best = (m: Readonly<Record<string, MethodSummary>>, k: number) =>
    (k === 1 ? m.none : m[`oracle-${k}`])?.block_efficiency ?? null;
  const data = tasksOf(replay).flatMap(({ short, methods }) =>
    [1, ...ks].flatMap((k): Datum[] => {
      const efficiency = best(methods, k);
      return efficiency === null ? [] : [{ task: short, k, efficiency, mark: k === 1 ? 1 : 0 }];
    }),
  );
  const figure: Figure = {
    name: "oracle",
    caption:
      "Block efficiency of the best path through the first k columns of the lattice; the ring at k = 1 is BPD. " +
      "No rescorer that picks one path from the lattice can be above the line.",
    svg: await panels(
      data,
      { x: "k", y: "efficiency", xTitle: "k", yTitle: "block efficiency" },
      { panel: "task", series: null, xStep: 1 },
    ),
  };
  const columns = ks.filter((k) => [2, 4, 8, 16].includes(k));
  return {
    id: "oracle",
    title: "Headroom: the oracle",
    figures: [figure],
    body: html`<p>The oracle knows the text that the model will write and follows it as far as the lattice lists it. What it
gains over BPD is what refinement could gain at most; what it lacks to ${replay.bundle.lattice_heads + 1} tokens per step is
the heads' own.</p>${figureHtml(figure)}
${table({
  caption: "Block efficiency by lattice columns that the oracle may use.",
  columns: ["task", "BPD (k = 1)", ...columns.map((k) => `k = ${k}`)],
  rows: tasksAndTotals(replay).map(({ title, methods, total }) => ({
    head: title,
    total,
    cells: [1, ...columns].map((k) => number(best(methods, k))),
  })),
})}${sourceLine(replay.run, replay.sets)}`,
  };
}

/** Drawn as far as there are colours. */
const POSITION_METHODS = ["none", "ngram-4", "pair", "path", "tree", "ngram-4-16best"];

/** Positions drawn one by one; copies go on far beyond, in ever fewer steps. */
const DRAWN = 12;
/** First and last position of the groups that follow the heads' in the tables. */
const DEEP = [
  [9, 16],
  [17, 32],
  [33, 64],
] as const;

/** How far drafts are accepted. */
export async function acceptanceSection(replay: StoredReplay): Promise<Section> {
  const tasks = tasksAndTotals(replay).filter(({ set, total }) => total || Object.keys(set.categories).length === 1);
  const known = POSITION_METHODS.filter((name) => tasks.every(({ methods }) => methods[name] !== undefined));
  const shown = known.slice(0, SERIES.length);
  const data = tasks.flatMap(({ short, methods }) =>
    shown.flatMap((name) =>
      acceptance(methods[name]!)
        .slice(0, DRAWN)
        .map((share, i): Datum => ({ task: short, method: methodTitle(name), position: i + 1, share, mark: 0 })),
    ),
  );
  const figure: Figure = {
    name: "acceptance",
    caption: `Share of the steps drafted that deep in which the first 1, 2, … drafted tokens were all accepted, up to position ${DRAWN}.`,
    svg: await panels(
      data,
      { x: "position", y: "share", xTitle: "position", yTitle: "accepted" },
      { panel: "task", series: "method", xStep: 1 },
    ),
  };
  const heads = Array.from({ length: replay.bundle.lattice_heads }, (_, i) => [i + 1, i + 1] as const);
  const positions = [...heads, ...DEEP.filter(([from]) => from > heads.length)];
  return {
    id: "acceptance",
    title: "Acceptance by position",
    figures: [figure],
    body: html`${figureHtml(figure)}
${shown.map((name) =>
  table({
    caption: `${methodTitle(name)}: accepted / drafted steps at each position, %.`,
    columns: ["task", ...positions.map(([from, to]) => (from === to ? String(from) : `${from} to ${to}`))],
    rows: tasks.map(({ title, methods }) => ({
      head: title,
      cells: positions.map(([from, to]) => {
        const share = groupAcceptance(methods[name]!, from, to);
        return share === null ? "–" : number(100 * share, 1);
      }),
    })),
  }),
)}${sourceLine(replay.run, replay.sets)}`,
  };
}

function acceptance({ drafted_by_position: drafted, accepted_by_position: accepted }: MethodSummary): number[] {
  return drafted.map((steps, i) => (accepted[i] ?? 0) / steps);
}

function groupAcceptance(
  { drafted_by_position: drafted, accepted_by_position: accepted }: MethodSummary,
  from: number,
  to: number,
): number | null {
  const sum = (counts: readonly number[]) => counts.slice(from - 1, to).reduce((a, b) => a + b, 0);
  return sum(drafted) === 0 ? null : sum(accepted) / sum(drafted);
}
