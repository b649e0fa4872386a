import { parseArgs } from "node:util";
import { type FleetReport, STREAMS, simulateFleet } from "./fleet.ts";

const HELP = `npm run sim -- [options]

Streams over a simulated fleet of gpu-workers that die, hang, drain, are full and answer late or twice: real clients,
pools, loops and sockets over toy models, in time of their own. Each stream is compared with its plain text.

  --streams N   streams in all, ${STREAMS} to a seed (10000)
  --first N     the first seed (1)
  --seed N      that seed alone
  --json        one line of JSON`;

/** Seeds whose streams were not as they must be, and everything that happened, summed up. */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      streams: { type: "string", default: "10000" },
      first: { type: "string", default: "1" },
      seed: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(HELP);
  const first = whole(values.seed ?? values.first, values.seed === undefined ? "--first" : "--seed");
  const seeds = values.seed === undefined ? Math.ceil(whole(values.streams, "--streams") / STREAMS) : 1;
  const startedAt = process.hrtime.bigint();
  const counts: Record<string, number> = {};
  let [streams, tokens, failed] = [0, 0, 0];
  for (let seed = first; seed < first + seeds; seed++) {
    const report = await simulateFleet(seed);
    streams += report.streams;
    tokens += report.tokens;
    for (const [what, count] of Object.entries(report.counts)) counts[what] = (counts[what] ?? 0) + count;
    if (report.faults.length > 0) failed++;
    tell(seed, report);
  }
  const seconds = Number(process.hrtime.bigint() - startedAt) / 1e9;
  const summary = { first_seed: first, seeds, failed_seeds: failed, streams, tokens, seconds, counts };
  console.log(values.json ? JSON.stringify(summary) : summary);
  process.exitCode = failed > 0 ? 1 : 0;
}

function whole(text: string, option: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Error(`${option} must be a whole number, not "${text}"`);
  return Number(text);
}

function tell(seed: number, { faults }: FleetReport): void {
  for (const fault of faults) console.error(`seed ${seed}: ${fault}`);
  if (faults.length > 0) console.error(`seed ${seed}: again with npm run sim -- --seed ${seed}`);
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
