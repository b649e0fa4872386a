import { setTimeout as sleep } from "node:timers/promises";
import OpenAI from "openai";
import type { GpuWorker } from "../../scripts/gpu-worker.ts";
import { Random } from "../helpers/random.ts";

/** A running service of several gpu-workers, each started again when it ends. */
export interface ChaosTarget {
  readonly url: string;
  readonly gpuWorkers: readonly Pick<GpuWorker, "url" | "pid">[];
}

export interface ChaosOptions {
  readonly seed: number;
  readonly streams: number;
  /** Streams at once. */
  readonly concurrency: number;
  /** Between two signals, ms. */
  readonly everyMs: number;
  /** Sent in turn. */
  readonly signals: readonly ("SIGKILL" | "SIGSTOP" | "SIGTERM")[];
  readonly log: (line: string) => void;
}

export interface ChaosReport {
  readonly streams: number;
  /** Streams with another text than the plain one. */
  readonly wrong: number;
  /** Streams whose client saw an error. */
  readonly errors: readonly string[];
  readonly tokens: number;
  readonly signals: Readonly<Record<string, number>>;
  /** The longest time without a chunk of each stream, ms. */
  readonly longestGapMs: { readonly p50: number; readonly p95: number; readonly max: number };
  /** Of the streams that paused, that is for longer than any ordinary step takes: how many, and how long, ms. */
  readonly pauses: { readonly count: number; readonly p50: number; readonly p95: number };
  readonly seconds: number;
}

const PROMPTS = ["Once upon a time", "The little dog said", "1 2 3 4", "Why?", "She took the boat and"];
const MAX_TOKENS = 240;
/** A reader's own time for each chunk, ms, so that streams last long enough to meet something. */
const READ_MS = 15;
/** A stopped gpu-worker goes on after this, longer than an edge waits for a sign of life, ms. */
const STOPPED_MS = 7_000;
const PAUSE_MS = 500;
const SAMPLINGS = [{ temperature: 0 }, { temperature: 0.8, seed: 7 }, { temperature: 1, top_p: 0.9, seed: 8 }];

/** Sends signals to gpu-workers while streams run, and compares every text with the plain one of before. */
export async function chaos(target: ChaosTarget, options: ChaosOptions): Promise<ChaosReport> {
  const client = new OpenAI({ baseURL: `${target.url}/v1`, apiKey: "any", maxRetries: 0 });
  const plain = await plainTexts(client);
  const random = new Random(options.seed);
  const startedAt = performance.now();
  const told: Told[] = [];
  const errors: string[] = [];
  let next = 0;
  const read = async () => {
    while (next < options.streams) {
      const index = next++;
      const request = requestOf(index);
      try {
        told.push({ ...(await stream(client, request)), plain: plain.get(keyOf(request))! });
      } catch (error) {
        errors.push(`stream ${index}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  };
  const over = new AbortController();
  const trouble = disturb(target, options, random, over.signal);
  await Promise.all(Array.from({ length: options.concurrency }, read));
  over.abort();
  const signals = await trouble;
  const gaps = told.map(({ gapMs }) => gapMs).sort((a, b) => a - b);
  const pauses = gaps.filter((ms) => ms >= PAUSE_MS);
  return {
    streams: options.streams,
    wrong: told.filter((one) => one.text !== one.plain).length,
    errors,
    tokens: told.reduce((sum, { tokens }) => sum + tokens, 0),
    signals,
    longestGapMs: { p50: quantile(gaps, 0.5), p95: quantile(gaps, 0.95), max: gaps.at(-1) ?? 0 },
    pauses: { count: pauses.length, p50: quantile(pauses, 0.5), p95: quantile(pauses, 0.95) },
    seconds: (performance.now() - startedAt) / 1000,
  };
}

interface Told {
  readonly text: string;
  readonly plain: string;
  readonly tokens: number;
  readonly gapMs: number;
}

/** Prompts, samplings, placements and rescorers in all their combinations, one after the other. */
function requestOf(index: number) {
  const prompt = PROMPTS[index % PROMPTS.length]!;
  const sampling = SAMPLINGS[Math.floor(index / PROMPTS.length) % SAMPLINGS.length]!;
  const placement = (["auto", "gpu", "edge"] as const)[index % 3]!;
  const drafting = [{}, { enabled: false }, { rescorer: { type: "ngram", p_best: 4, prompt: true } }][index % 7] ?? {};
  return { prompt, sampling, speculation: { placement, ...drafting } };
}

type Request = ReturnType<typeof requestOf>;

const keyOf = ({ prompt, sampling }: Pick<Request, "prompt" | "sampling">) => JSON.stringify([prompt, sampling]);

function bodyOf({ prompt, sampling, speculation }: Omit<Request, "speculation"> & { readonly speculation: object }) {
  return { model: "tiny", prompt, max_tokens: MAX_TOKENS, ...sampling, speculation } as const;
}

async function plainTexts(client: OpenAI): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const prompt of PROMPTS) {
    for (const sampling of SAMPLINGS) {
      const body = bodyOf({ prompt, sampling, speculation: { enabled: false, placement: "edge" } });
      const { choices } = await client.completions.create(body);
      texts.set(keyOf({ prompt, sampling }), choices[0]!.text);
    }
  }
  return texts;
}

async function stream(client: OpenAI, request: Request): Promise<Omit<Told, "plain">> {
  const body = { ...bodyOf(request), stream: true, stream_options: { include_usage: true } } as const;
  let text = "";
  let gapMs = 0;
  let tokens = 0;
  let at = performance.now();
  for await (const { choices, usage } of await client.completions.create(body)) {
    gapMs = Math.max(gapMs, performance.now() - at);
    text += choices[0]?.text ?? "";
    tokens = usage?.completion_tokens ?? tokens;
    await sleep(READ_MS);
    at = performance.now();
  }
  return { text, gapMs, tokens };
}

/** One signal after the other, each to a random gpu-worker, as long as another one is ready. */
async function disturb(
  { gpuWorkers }: ChaosTarget,
  { signals, everyMs, log }: ChaosOptions,
  random: Random,
  over: AbortSignal,
): Promise<Record<string, number>> {
  const sent: Record<string, number> = {};
  const stopped = new Set<number>();
  for (let i = 0; ; ) {
    await sleep(everyMs, undefined, { signal: over }).catch(() => undefined);
    if (over.aborted) break;
    const ready: (typeof gpuWorkers)[number][] = [];
    for (const worker of gpuWorkers) if (await isReady(worker.url)) ready.push(worker);
    if (ready.length < 2 || over.aborted) continue;
    const worker = random.pick(ready);
    const { pid } = worker;
    const signal = signals[i++ % signals.length]!;
    if (pid === undefined || !send(pid, signal)) continue;
    log(`${signal} to ${worker.url}`);
    sent[signal] = (sent[signal] ?? 0) + 1;
    if (signal !== "SIGSTOP") continue;
    stopped.add(pid);
    void sleep(STOPPED_MS, undefined, { signal: over })
      .catch(() => undefined)
      .then(() => send(pid, "SIGCONT"))
      .then(() => stopped.delete(pid));
  }
  for (const pid of stopped) send(pid, "SIGCONT");
  return sent;
}

/** false where that process is gone. */
function send(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

const isReady = (url: string) =>
  fetch(`${url}/readyz`, { signal: AbortSignal.timeout(300) }).then(
    ({ ok }) => ok,
    () => false,
  );

/** Of sorted values, the nearest rank; 0 of none. */
function quantile(sorted: readonly number[], q: number): number {
  return Math.round(sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0);
}
