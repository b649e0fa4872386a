import type { StoredLive } from "../suite/stored.ts";
import { copiedSection, mtBenchSection } from "./breakdown.ts";
import { distanceSection } from "./distance.ts";
import { examplesSection } from "./examples.ts";
import { gain, number } from "./format.ts";
import { acceptanceSection, entropySection, oracleSection } from "./heads.ts";
import { type Html, html, NOTHING, table, trusted } from "./html.ts";
import { alphaSection, packsSection, repetitionSection, rescoringSection } from "./refinement.ts";
import { reliabilitySection } from "./reliability.ts";
import type { Runs, Section } from "./runs.ts";
import { hardwareSection, scoresSection, speedSection } from "./speed.ts";
import { STYLE } from "./style.ts";

export interface Report {
  /** One file that needs no other. */
  readonly page: string;
  /** Name -> SVG. */
  readonly figures: ReadonlyMap<string, string>;
}

export async function renderReport(runs: Runs): Promise<Report> {
  const { replay, live, tune } = runs;
  const sections: (Section | null)[] = [
    ...(replay === null
      ? []
      : [
          rescoringSection(replay, tune),
          copiedSection(replay),
          await mtBenchSection(replay, live[0] ?? null),
          await oracleSection(replay),
          await entropySection(replay),
          await acceptanceSection(replay),
          await reliabilitySection(replay),
          repetitionSection(replay),
          examplesSection(replay),
          packsSection(replay),
        ]),
    tune === null ? null : await alphaSection(tune, replay),
    ...(await Promise.all(live.map(speedSection))),
    live[0] === undefined && replay === null ? null : scoresSection(live[0] ?? null, replay),
    replay === null ? null : hardwareSection(replay),
    replay === null ? null : await distanceSection(replay),
  ];
  const kept = [...sections.filter((section) => section !== null), sourcesSection(runs)];
  const figures = new Map(kept.flatMap((section) => section.figures.map(({ name, svg }) => [name, svg] as const)));
  return { page: pageOf(runs, kept).text, figures };
}

function pageOf(runs: Runs, sections: readonly Section[]): Html {
  const bundle = (runs.replay ?? runs.tune ?? runs.live[0])!.bundle;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>foredraft: evaluation of ${bundle.name}</title>
<style>${trusted(STYLE)}</style>
</head>
<body>
<header>
<h1>Block drafts of ${bundle.name}, and what refining them gains</h1>
<p>The tables and figures of Kim et al., <em>Accelerating Blockwise Parallel Language Models with Draft Refinement</em>
(NeurIPS 2024), redone for this model. BPD is blockwise parallel decoding with each head's likeliest token.</p>
${tiles(runs)}
<nav aria-label="Contents"><ul>${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul></nav>
</header>
<main>
${sections.map(({ id, title, body }) => html`<section aria-labelledby="${id}"><h2 id="${id}">${title}</h2>\n${body}</section>\n`)}</main>
<footer><p class="source">Rendered by <code>npm run report</code> from the files under <code>bench/results/</code>.</p></footer>
</body>
</html>
`;
}

/** The main set's figures at a glance. */
function tiles({ replay, live }: Runs): Html {
  const main = replay?.sets[0];
  if (main === undefined) return NOTHING;
  const all = Object.keys(main.overall).length > 0 ? main.overall : (Object.values(main.categories)[0] ?? {});
  const tile = (name: string, label: string) => {
    const method = all[name];
    if (method === undefined) return NOTHING;
    const over = name === "none" ? NOTHING : html` ${gain(method)}`;
    return html`<li><b>${number(method.block_efficiency)}</b>${label}${over}<br><span>block efficiency, ${main.title}, ${method.prompts} prompts</span></li>`;
  };
  return html`<ul class="tiles">${[
    tile("none", "BPD"),
    tile("ngram-4", "4-gram"),
    tile("pair", "path of fitting pairs"),
    tile("path", "one calibrated path"),
    tile("medusa-63", "Medusa's tree, 63 nodes"),
    tile("tree-16", "tree, 16 nodes"),
    tile("tree", "tree, 63 nodes"),
    tile("oracle-16", "oracle, top 16"),
    // Of other heads, a speed says nothing of these efficiencies.
    ...live.filter(({ bundle }) => bundle.heads_sha256 === replay?.bundle.heads_sha256).map(speedTile),
  ]}</ul>`;
}

/** Speed as the API serves the main set. */
function speedTile(run: StoredLive): Html {
  const main = run.sets[0];
  const methods = main === undefined ? {} : Object.keys(main.overall).length > 0 ? main.overall : undefined;
  const plain = methods?.ar?.tokens_per_s ?? null;
  const { tokens_per_s: tree = null, speed_up = null } = methods?.tree ?? {};
  if (main === undefined || plain === null || tree === null || speed_up === null) return NOTHING;
  return html`<li><b>${number(speed_up)}×</b>tree as served, ${run.provider}<br><span>${number(tree, 0)} for ${number(plain, 0)} tokens/s, ${main.title}, ${main.prompts} prompts</span></li>`;
}

/** Everything needed to make the numbers again. */
function sourcesSection({ replay, live, tune }: Runs): Section {
  const runs = [replay, tune, ...live].filter((run) => run !== null);
  const sets = [
    ...(replay?.sets ?? []).map((set) => ({ use: "reported", ...set })),
    ...(tune?.sources ?? []).map((source) => ({ use: "tuned on", ...source })),
  ];
  return {
    id: "sources",
    title: "Where the numbers come from",
    figures: [],
    body: html`${table({
      caption: "Stored runs.",
      columns: ["run", "command", "commit", "seed", "Node", "bundle", "heads (SHA-256)"],
      rows: runs.map(({ run, bundle, ...stored }) => ({
        head: stored.kind === "live" ? `live, ${stored.provider}` : stored.kind,
        cells: [
          html`<code>${run.command}</code>`,
          html`<code>${run.commit.slice(0, 10)}</code>${run.changed_files ? " (changed)" : ""}`,
          run.seed === null ? "none" : String(run.seed),
          run.node,
          bundle.name,
          html`<code>${bundle.heads_sha256.slice(0, 12)}</code>`,
        ],
      })),
    })}
${table({
  caption: "Texts of plain greedy decoding that they replay.",
  columns: ["set", "use", "prompts", "tokens per answer", "command that ran the model"],
  rows: sets.map(({ title, use, prompts, max_tokens, trace_command }) => ({
    head: title,
    cells: [use, String(prompts), `at most ${max_tokens}`, html`<code>${trace_command}</code>`],
  })),
})}`,
  };
}
