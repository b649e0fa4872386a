import type { StoredReplay } from "../suite/stored.ts";
import { gain, methodTitle, number, range } from "./format.ts";
import { html, table } from "./html.ts";
import { draftMethods, type Section, sourceLine, tasksAndTotals } from "./runs.ts";

const COPY_METHODS = ["none", "ngram-4", "ngram-4-prompt", "path", "tree-16", "tree", "prompt-lookup", "oracle-16"];

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

const MT_METHODS = ["ngram-4", "neural", "path", "tree-16-heads", "tree-16", "tree", "oracle-16"];

/** The categories that the paper's figure has. */
export function mtBenchSection(replay: StoredReplay): Section | null {
  const groups = Object.entries(replay.mt_bench ?? {});
  if (groups.length === 0) return null;
  const shown = MT_METHODS.filter((name) => groups.every(([, methods]) => methods[name] !== undefined));
  return {
    id: "mt-bench",
    title: "MT-Bench by category",
    figures: [],
    body: html`<p>The questions of Spec-Bench that are MT-Bench's, by MT-Bench's own categories. Few prompts each: mind the intervals.</p>
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
})}${sourceLine(
  replay.run,
  replay.sets.filter(({ set }) => set === "spec_bench"),
)}`,
  };
}

/** What is no single path through the lattice, and bounds. */
const SEVERAL = /^tree|best|^prompt-lookup$|^oracle/;

/** The methods of a run in tables that fit a page: one path, several, and trees beside the bound of one path. */
export function methodGroups(replay: StoredReplay): {
  readonly one: string[];
  readonly several: string[];
  readonly trees: string[];
} {
  const methods = draftMethods(replay).filter((name) => name !== "none");
  const oracle = tasksAndTotals(replay)[0]?.methods["oracle-16"] === undefined ? [] : ["oracle-16"];
  return {
    one: methods.filter((name) => !SEVERAL.test(name)),
    several: methods.filter((name) => /best|^prompt-lookup$/.test(name)),
    trees: [...methods.filter((name) => name.startsWith("tree")), ...oracle],
  };
}
