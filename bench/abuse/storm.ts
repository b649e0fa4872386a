import { setTimeout as sleep } from "node:timers/promises";
import { abandon, type Manner, type Moment } from "./abandon.ts";

/** What is abused, and how many completions one caller may have at once. */
export interface Abuse {
  /** Of /v1/completions. */
  readonly url: string;
  readonly gpuUrl: string;
  readonly places: number;
  /** Tokens of a prompt that takes several passes. */
  readonly longPrompt: number;
}

/** A prompt of so many tokens, any tokens. */
export function promptOf(tokens: number): number[] {
  return Array.from({ length: tokens }, (_, i) => 100 + (i % 50));
}

interface StormResult {
  readonly requests: number;
  readonly fin: number;
  readonly rst: number;
  readonly streams: number;
  readonly left_before_the_answer: number;
  readonly left_during_the_answer: number;
  readonly answered_whole_or_refused: number;
}

/**
 * `requests` clients, as many at once as have a place. A third leaves within 30 ms, a third within the time that its
 * prefill alone takes, a third of the streams after some frames.
 */
export async function storm(abuse: Abuse, requests: number, seed: number): Promise<StormResult> {
  const unit = generator(seed);
  const prefillMs = await timeOf(abuse, { prompt: promptOf(abuse.longPrompt), max_tokens: 1 });
  const result = { fin: 0, rst: 0, streams: 0, before: 0, during: 0, whole: 0 };
  let started = 0;
  const client = async () => {
    while (started++ < requests) {
      const stream = unit() < 0.5;
      const manner: Manner = unit() < 0.5 ? "fin" : "rst";
      const prompt = promptOf(unit() < 0.5 ? 8 : abuse.longPrompt);
      const body = { prompt, max_tokens: 64, temperature: 1, seed: started, stream };
      const { status, early } = await abandon(abuse.url, body, manner, moment(unit, prefillMs, stream));
      result[manner]++;
      if (stream) result.streams++;
      result[!early ? "whole" : status === null ? "before" : "during"]++;
    }
  };
  await Promise.all(Array.from({ length: abuse.places }, client));
  const { before, during, whole, ...rest } = result;
  return {
    requests,
    ...rest,
    left_before_the_answer: before,
    left_during_the_answer: during,
    answered_whole_or_refused: whole,
  };
}

function moment(unit: () => number, prefillMs: number, stream: boolean): Moment {
  const kind = unit();
  if (kind < 1 / 3) return { afterMs: unit() * 30 };
  if (kind < 2 / 3 || !stream) return { afterMs: unit() * prefillMs };
  return { afterFrames: 1 + Math.floor(unit() * 12) };
}

/** Sessions open at the gpu-worker 2 s after the last client left, and when it had none. */
export async function sessionsLeft({ gpuUrl }: Abuse): Promise<{ after2s: number; noneAfterMs: number | null }> {
  const from = performance.now();
  let noneAfterMs: number | null = null;
  for (;;) {
    const open = await counter(gpuUrl, "foredraft_sessions_open");
    const ms = performance.now() - from;
    if (open === 0) noneAfterMs ??= ms;
    if (ms >= 2_000) return { after2s: open, noneAfterMs };
    await sleep(20);
  }
}

/** How many completions at once are answered 200 now. */
export async function freePlaces({ url, places }: Abuse): Promise<number> {
  const ask = () => post(url, { prompt: promptOf(8), max_tokens: 16, temperature: 0 });
  const answers = await Promise.all(Array.from({ length: places }, ask));
  return answers.filter(({ ok }) => ok).length;
}

export async function timeOf({ url }: Abuse, body: object): Promise<number> {
  // The first request loads tokenizer and pack.
  await post(url, { prompt: promptOf(8), max_tokens: 1 });
  const from = performance.now();
  const response = await post(url, body);
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  return performance.now() - from;
}

export async function post(url: string, body: object): Promise<Response> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return new Response(await response.text(), response);
}

/** A metric of the gpu-worker without labels. */
export async function counter(gpuUrl: string, name: string): Promise<number> {
  const text = await (await fetch(`${gpuUrl}/metrics`)).text();
  const value = new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1];
  if (value === undefined) throw new Error(`the gpu-worker has no metric ${name}`);
  return Number(value);
}

/** Lehmer's generator: numbers in [0, 1), the same for the same seed. */
export function generator(seed: number): () => number {
  let state = (seed % 2_147_483_646) + 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return (state - 1) / 2_147_483_646;
  };
}
