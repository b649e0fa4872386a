import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { ROOT } from "../../scripts/paths.ts";
import { renderReport } from "../report/page.ts";
import { readRuns } from "../report/runs.ts";
import { RESULTS } from "../suite/options.ts";

const HELP = `npm run report -- [options]
Draws the report from the stored runs; runs nothing.
  --results DIR   of the stored runs (bench/results)
  --out FILE      the page, one HTML file (docs/report.html)
  --figures DIR   also each figure as an SVG file`;

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      results: { type: "string", default: RESULTS },
      out: { type: "string", default: join(ROOT, "docs", "report.html") },
      figures: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return;
  }
  const { page, figures } = await renderReport(await readRuns(values.results));
  await mkdir(dirname(values.out), { recursive: true });
  await writeFile(values.out, page);
  console.log(`${values.out}: ${Math.ceil(page.length / 1024)} KiB, ${figures.size} figures`);
  if (values.figures === undefined) return;
  await mkdir(values.figures, { recursive: true });
  for (const [name, svg] of figures) await writeFile(join(values.figures, `${name}.svg`), svg);
}
