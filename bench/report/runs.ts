import { join } from "node:path";
import type { MethodSummary } from "../eval/summary.ts";
import type { Provenance } from "../provenance.ts";
import { LIVE_FILES } from "../suite/options.ts";
import {
  readStored,
  type StoredLive,
  type StoredReplay,
  type StoredSet,
  type StoredSource,
  type StoredTune,
} from "../suite/stored.ts";
import { type Html, html } from "./html.ts";

/** The stored runs there are; a section without its run is left out. */
export interface Runs {
  readonly replay: StoredReplay | null;
  /** One for each provider, the CPU first. */
  readonly live: readonly StoredLive[];
  readonly tune: StoredTune | null;
}

export async function readRuns(dir: string): Promise<Runs> {
  const [replay, tune, ...providers] = await Promise.all([
    readStored(join(dir, "replay.json"), "replay"),
    readStored(join(dir, "tune.json"), "tune"),
    ...Object.values(LIVE_FILES).map((name) => readStored(join(dir, name), "live")),
  ]);
  const live = providers.filter((run) => run !== null);
  if (replay === null && live.length === 0 && tune === null)
    throw new Error(`no stored runs in ${dir}: make them with npm run eval -- --suite (--help) and npm run tune`);
  return { replay, live, tune };
}

export interface Section {
  readonly id: string;
  readonly title: string;
  readonly body: Html;
  readonly figures: readonly { readonly name: string; readonly svg: string }[];
}

/** A category of a set. */
export interface Task {
  readonly title: string;
  /** Without the set's name where the category has one of its own: for figures. */
  readonly short: string;
  readonly set: StoredSet;
  readonly category: string;
  readonly methods: Readonly<Record<string, MethodSummary>>;
}

export function tasksOf(replay: StoredReplay): Task[] {
  return replay.sets.flatMap((set) => {
    const categories = Object.entries(set.categories);
    return categories.map(([category, methods]) => ({
      title: categories.length === 1 ? set.title : `${set.title}, ${category}`,
      short: categories.length === 1 ? set.title : category,
      set,
      category,
      methods,
    }));
  });
}

/** As tasksOf, with a row over all categories after each set that has several. */
export function tasksAndTotals(replay: StoredReplay): (Task & { readonly total: boolean })[] {
  const tasks = tasksOf(replay);
  return replay.sets.flatMap((set) => {
    const own = tasks.filter((task) => task.set === set).map((task) => ({ ...task, total: false }));
    if (own.length <= 1) return own;
    return [
      ...own,
      { title: `${set.title}, all`, short: set.title, set, category: "", methods: set.overall, total: true },
    ];
  });
}

/** Names of the methods in the order they ran, without plain decoding, oracles and single packs. */
export function draftMethods(replay: StoredReplay): string[] {
  const names = Object.keys(replay.sets[0]?.categories[Object.keys(replay.sets[0].categories)[0] ?? ""] ?? {});
  return names.filter((name) => name !== "ar" && !name.startsWith("oracle-") && !name.includes("@"));
}

/** Every number's origin: the command, its commit and seed, how many prompts. */
export function sourceLine(run: Provenance, sources: readonly Pick<StoredSource, "prompts">[]): Html {
  const prompts = sources.reduce((sum, source) => sum + source.prompts, 0);
  const dirty = run.changed_files ? " with uncommitted changes" : "";
  const seed = run.seed === null ? "nothing random" : `seed ${run.seed}`;
  return html`<p class="source">From <code>${run.command}</code>, commit <code>${run.commit.slice(0, 10)}</code>${dirty}, ${seed}, ${prompts} prompts.</p>`;
}
