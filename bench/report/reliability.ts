import type { ReliabilityBin } from "../eval/reliability.ts";
import type { StoredReplay } from "../suite/stored.ts";
import { type Datum, type Figure, figureHtml, panels } from "./charts.ts";
import { methodTitle, number } from "./format.ts";
import { html, table } from "./html.ts";
import { type Section, sourceLine } from "./runs.ts";

/** Fewer nodes than this say nothing. */
const LEAST_NODES = 30;

/** Whether nodes are accepted as often as their chances say. */
export async function reliabilitySection(replay: StoredReplay): Promise<Section | null> {
  const [[method, groups] = ["", {}]] = Object.entries(replay.reliability);
  const entries = Object.entries(groups);
  if (entries.length === 0) return null;
  const data = entries.flatMap(([group, bins]) =>
    bins.flatMap((bin): Datum[] => {
      if (bin.nodes < LEAST_NODES) return [];
      const predicted = bin.predicted / bin.nodes;
      return [
        { group, curve: "observed", predicted, share: bin.accepted / bin.nodes, mark: 0 },
        { group, curve: "as predicted", predicted, share: predicted, mark: 0 },
      ];
    }),
  );
  const figure: Figure = {
    name: "reliability",
    caption: `Share of drafted nodes that were accepted, by the chance the draft gave them, for ${methodTitle(method)}: by depth and by who proposed the token.`,
    svg: await panels(
      data,
      { x: "predicted", y: "share", xTitle: "predicted", yTitle: "accepted" },
      { panel: "group", series: "curve", xStep: 0.2 },
    ),
  };
  const tenths = entries[0]![1].map((_, i) => `${number(i / 10, 1)}`);
  return {
    id: "reliability",
    title: "Can the chances be believed?",
    figures: [figure],
    body: html`<p>A draft tree takes the nodes that are likeliest to be accepted, so it is as good as these chances are true. They were
fitted on other prompts.</p>${figureHtml(figure)}
${table({
  caption: "Accepted − predicted, percentage points, by predicted chance (from each tenth on), and all nodes.",
  columns: ["nodes", "drafted", "all", ...tenths],
  rows: entries.map(([group, bins]) => ({
    head: group,
    cells: [String(sum(bins).nodes), excess(sum(bins)), ...bins.map(excess)],
  })),
})}${sourceLine(replay.run, replay.sets)}`,
  };
}

function sum(bins: readonly ReliabilityBin[]): ReliabilityBin {
  const total = { nodes: 0, predicted: 0, accepted: 0 };
  for (const bin of bins) {
    total.nodes += bin.nodes;
    total.predicted += bin.predicted;
    total.accepted += bin.accepted;
  }
  return total;
}

function excess({ nodes, predicted, accepted }: ReliabilityBin): string {
  if (nodes < LEAST_NODES) return "–";
  const points = (100 * (accepted - predicted)) / nodes;
  return `${points < 0 ? "−" : "+"}${Math.abs(points).toFixed(1)}`;
}
