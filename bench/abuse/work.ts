import { setTimeout as sleep } from "node:timers/promises";
import { median, round } from "../decode/stats.ts";
import { abandon, type Manner } from "./abandon.ts";
import { type Abuse, counter, generator, post, promptOf, timeOf } from "./storm.ts";

const manners: readonly Manner[] = ["fin", "rst"];

/** Passes that the gpu-worker still ends for a stream after its client left in the middle of it. */
export async function passesAfterLeaving({ url, gpuUrl }: Abuse, times: number) {
  const unit = generator(times);
  const passes: number[] = [];
  for (let i = 0; i < times; i++) {
    const body = { prompt: promptOf(8), max_tokens: 256, temperature: 1, seed: i, stream: true };
    await abandon(url, body, manners[i % 2]!, { afterFrames: 2 + Math.floor(unit() * 10) });
    const then = await counter(gpuUrl, "foredraft_spec_decode_num_drafts_total");
    await sleep(500);
    passes.push((await counter(gpuUrl, "foredraft_spec_decode_num_drafts_total")) - then);
  }
  return { median: median(passes), most: Math.max(...passes), times };
}

/**
 * How long a request waits for the model that comes when another has left in the middle of its prefill: no longer than
 * one pass of that prefill, if it ends with the pass that ran.
 */
export async function waitAfterLeaving(abuse: Abuse, times: number) {
  const unit = generator(times);
  const prompt = promptOf(abuse.longPrompt);
  const passes = () => counter(abuse.gpuUrl, "foredraft_pass_seconds_count");
  const before = await passes();
  const prefillMs = await timeOf(abuse, { prompt, max_tokens: 1 });
  const prefillPasses = (await passes()) - before;
  const waits: number[] = [];
  for (let i = 0; i < times; i++) {
    const body = { prompt, max_tokens: 64, temperature: 1, seed: i, stream: i % 4 < 2 };
    await abandon(abuse.url, body, manners[i % 2]!, { afterMs: prefillMs * unit() * 0.7 });
    const answer = await post(abuse.url, { prompt: promptOf(8), max_tokens: 1, temperature: 0 });
    const { metrics } = (await answer.json()) as { metrics: { timings: { queue_ms: number } } };
    waits.push(metrics.timings.queue_ms);
  }
  return {
    queue_ms_median: round(median(waits), 1),
    queue_ms_most: round(Math.max(...waits), 1),
    prefill_ms: round(prefillMs, 1),
    prefill_passes: prefillPasses,
    times,
  };
}
