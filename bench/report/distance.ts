import { whatIf } from "../eval/what-if.ts";
import type { StoredReplay } from "../suite/stored.ts";
import { type Datum, type Figure, figureHtml, panels } from "./charts.ts";
import { methodTitle } from "./format.ts";
import { html } from "./html.ts";
import { type Section, sourceLine } from "./runs.ts";

const STEPS_MS = [5, 10, 20];
const ROUND_TRIPS_MS = [0, 2.5, 5, 10, 20, 30, 40, 60, 80];

/** What the distance between edge and model would cost, by who drafts. */
export async function distanceSection(replay: StoredReplay): Promise<Section | null> {
  const { set, methods } = replay.hardware;
  const best = Object.entries(methods).sort(([, a], [, b]) => b.block_efficiency - a.block_efficiency);
  const [name, row] = best.find(([name]) => name.startsWith("tree")) ?? [];
  if (name === undefined || row === undefined) return null;
  const data = STEPS_MS.flatMap((stepMs) =>
    ROUND_TRIPS_MS.flatMap((rttMs): Datum[] => {
      const at = { panel: `a step of ${stepMs} ms`, rttMs };
      return Object.entries(whatIf({ rttMs, stepMs }, { drafted: row }).methods).flatMap(([method, rates]) => [
        { ...at, who: `${method}, from the edge`, rate: rates.edge },
        { ...at, who: `${method}, beside the model`, rate: rates.gpu },
      ]);
    }),
  );
  const axes = { x: "rttMs", y: "rate", xTitle: "round trip, ms", yTitle: "tokens/s" };
  const figure: Figure = {
    name: "distance",
    caption: `Tokens per second after the first, computed from the tokens per step of ${methodTitle(name)} on ${set}.`,
    svg: await panels(data, axes, { panel: "panel", series: "who", xStep: 20 }),
  };
  return {
    id: "distance",
    title: "Who drafts, and how far away",
    figures: [figure],
    body: html`<p>Not measured but computed: a step takes its time beside the model, and a round trip more where the edge asks for
each. Rescoring costs the same at both places and is left out, as is what only the edge may know. <code>npm run bench --
distance</code> measures the real thing.</p>
${figureHtml(figure)}${sourceLine(
  replay.run,
  replay.sets.filter(({ title }) => title === set),
)}`,
  };
}
