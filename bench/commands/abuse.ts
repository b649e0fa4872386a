import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { startStack } from "../../scripts/stack.ts";
import { type Abuse, freePlaces, sessionsLeft, storm } from "../abuse/storm.ts";
import { passesAfterLeaving, waitAfterLeaving } from "../abuse/work.ts";
import { round } from "../decode/stats.ts";
import { count } from "../eval/options.ts";

/** Completions of one caller at once, as the Worker has it unless told otherwise. */
const PLACES = 8;

/** Tokens of a prompt that takes several passes, where the model's context holds as many. */
const LONG_PROMPT = 1024;

export const ABUSE_HELP = `npm run bench -- abuse [options]
Clients that leave at any moment, however they close their connection, and what is left of them.
  --bundle NAME   (smollm2-135m; a quarter of an hour, with tiny half a minute)
  --requests N    clients (1000)
  --seed N        of the moments they leave at (1)`;

/**
 * Clients that leave at random moments, closing their connection in order or resetting it, streaming or not, against
 * the whole service; then what is left of them. Fails where a place stays taken or a session open.
 */
export async function benchAbuse(args: readonly string[]): Promise<object> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      bundle: { type: "string", default: "smollm2-135m" },
      requests: { type: "string", default: "1000" },
      seed: { type: "string", default: "1" },
    },
  });
  const { bundle } = values;
  const requests = count("--requests", values.requests, 1_000_000) ?? 1;
  const seed = count("--seed", values.seed, 2 ** 31) ?? 1;
  const bundleDir = await ensureBundle(bundle);
  const assetsDir = await mkdtemp(join(tmpdir(), "foredraft-abuse-"));
  const rateLimit = { limit: 1_000_000, period: 60 } as const;
  const stack = await startStack({ bundle, bundleDir, assetsDir, rateLimit, vars: { MAX_STREAMS: String(PLACES) } });
  try {
    const model = await fetch(`${stack.edge.url}/v1/models/${bundle}`);
    const { context_tokens: context } = (await model.json()) as { context_tokens: number };
    const abuse: Abuse = {
      url: `${stack.edge.url}/v1/completions`,
      gpuUrl: stack.gpuWorker.url,
      places: PLACES,
      longPrompt: Math.min(LONG_PROMPT, context - 128),
    };
    console.error(`${requests} clients that leave ...`);
    const left = await storm(abuse, requests, seed);
    const sessions = await sessionsLeft(abuse);
    const places = await freePlaces(abuse);
    console.error("the work of those that left ...");
    const passes = await passesAfterLeaving(abuse, 20);
    const wait = await waitAfterLeaving(abuse, 20);
    if (sessions.after2s > 0 || places < PLACES) process.exitCode = 1;
    return {
      ...left,
      sessions_left_after_2s: sessions.after2s,
      ms_until_none_was_left: sessions.noneAfterMs === null ? null : round(sessions.noneAfterMs, 0),
      places_free: places,
      places: PLACES,
      passes_after_leaving_a_stream: passes,
      after_leaving_a_prefill: wait,
      settings: { bundle, seed, cpu: cpus()[0]?.model ?? "", node: process.version },
    };
  } finally {
    await stack.close();
    await rm(assetsDir, { recursive: true, force: true });
  }
}
