import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { startStack } from "../../scripts/stack.ts";
import { chaos } from "./chaos.ts";

const HELP = `npm run chaos -- [options]

The whole service with several gpu-workers (bundle tiny), one of which is killed, stopped or told to end every few
seconds while streams run. Every text must be the plain one, and no client may see an error.

  --workers N      gpu-workers (3)
  --streams N      streams (200)
  --concurrency N  streams at once (12)
  --kill-every S   seconds between two signals (3)
  --signals LIST   of SIGKILL, SIGSTOP, SIGTERM, in turn (all of them)
  --seed N         which gpu-workers (1)
  --json           one line of JSON at the end`;

const SIGNALS = ["SIGKILL", "SIGSTOP", "SIGTERM"] as const;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      workers: { type: "string", default: "3" },
      streams: { type: "string", default: "200" },
      concurrency: { type: "string", default: "12" },
      "kill-every": { type: "string", default: "3" },
      signals: { type: "string", default: SIGNALS.join() },
      seed: { type: "string", default: "1" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(HELP);
  const signals = values.signals.split(",").map((name) => {
    const signal = SIGNALS.find((one) => one === name);
    if (signal === undefined) throw new Error(`--signals must be some of ${SIGNALS.join()}, not "${name}"`);
    return signal;
  });
  const workers = positive(values.workers, "--workers");
  const streams = positive(values.streams, "--streams");
  const concurrency = positive(values.concurrency, "--concurrency");
  const everyMs = 1000 * positive(values["kill-every"], "--kill-every");
  const seed = positive(values.seed, "--seed");
  const log = (line: string) => console.error(line);
  const assetsDir = await mkdtemp(join(tmpdir(), "foredraft-chaos-"));
  try {
    const stack = await startStack({
      bundle: "tiny",
      bundleDir: await ensureBundle("tiny"),
      workers,
      threads: 1,
      assetsDir,
      vars: { MAX_STREAMS: String(concurrency + 1), MAX_STREAMS_TOTAL: String(concurrency + 1) },
      rateLimit: { limit: 1_000_000, period: 60 },
      log,
    });
    try {
      const target = { url: stack.edge.url, gpuWorkers: stack.gpuWorkers };
      const report = await chaos(target, { seed, streams, concurrency, everyMs, signals, log });
      console.log(values.json ? JSON.stringify(report) : report);
      process.exitCode = report.wrong + report.errors.length > 0 ? 1 : 0;
    } finally {
      await stack.close();
    }
  } finally {
    await rm(assetsDir, { recursive: true, force: true });
  }
}

function positive(text: string, option: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new Error(`${option} must be a number above 0, not "${text}"`);
  return value;
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
// Nothing of the stack's, whose signal handlers would keep this process, is left.
process.exit();
