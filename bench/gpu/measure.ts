import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { loadBundle } from "../../gpu-worker/load.ts";
import type { Provider } from "../../gpu-worker/onnx/session.ts";
import type { StepEngine } from "../../shared/engine.ts";
import { Bare, type Curve } from "../decode/engine-step.ts";
import { PROMPTS } from "../decode/prompts.ts";
import { round } from "../decode/stats.ts";
import { complete } from "../eval/complete.ts";
import { type Method, parseMethod } from "../eval/methods.ts";
import type { LoadedBundle } from "../eval/model.ts";

/** Tokens before the rows of a pass. */
const PAST = 132;
const MOST_ROWS = 64;
const CONTEXTS = [128, 512, 1024, 2048];
const KV_BYTES = 2 ** 28;

export interface GpuFigures {
  readonly load_s: number;
  /** Rows -> ms of a pass over them; those that the time was too short for are left out. */
  readonly c_ms: Curve;
  /** Tokens of context -> ms of a pass of one row. */
  readonly context_ms: Curve;
  /** Reading a prompt, in the largest passes there are. */
  readonly prefill_tokens_per_s: number;
  /** Of one session; null: the bundle has none. */
  readonly heads_ms: number | null;
  readonly plain_tokens_per_s: number;
  /** By method of npm run eval. */
  readonly drafted: Readonly<Record<string, Drafted>>;
}

interface Drafted {
  readonly tokens_per_s: number;
  readonly block_efficiency: number;
  readonly speedup: number;
  /** Answers that are, token by token, those of plain decoding. */
  readonly identical: string;
}

/** What a provider makes of a bundle within about `seconds`. Throws Error where it cannot be loaded. */
export async function measureGpu(
  bundleDir: string,
  text: LoadedBundle,
  provider: Provider,
  maxTokens: number,
  seconds: number,
): Promise<GpuFigures> {
  const until = performance.now() + seconds * 1000;
  const at = performance.now();
  const { model, neural } = await loadBundle(bundleDir, { provider, kvLimitBytes: KV_BYTES });
  const load_s = round((performance.now() - at) / 1000);
  let bare: Pick<GpuFigures, "c_ms" | "context_ms" | "prefill_tokens_per_s" | "heads_ms">;
  try {
    const passes = await Bare.over(model, Math.max(...CONTEXTS));
    bare = {
      prefill_tokens_per_s: round(passes.prefillRate),
      heads_ms: model.shape.latticeHeads === 0 ? null : round(await passes.headsMs()),
      context_ms: rounded(await passes.contextMs(CONTEXTS, share(until, 1 / 8))),
      c_ms: rounded(await curve(passes, share(until, 1 / 2))),
    };
  } finally {
    await model.release();
    await neural?.release();
  }
  const engine = await createInProcessEngine(bundleDir, { provider, kvLimitBytes: KV_BYTES });
  try {
    return { load_s, ...bare, ...(await answers(engine, text, maxTokens, until)) };
  } finally {
    await engine.close();
  }
}

/** When that part of the time from now to `until` is past. */
function share(until: number, part: number): number {
  return performance.now() + part * (until - performance.now());
}

/** Powers of two first: a curve with holes is one, half of a curve is not. */
async function curve(passes: Bare, until: number): Promise<Curve> {
  const all = Array.from({ length: MOST_ROWS }, (_, i) => i + 1);
  const isPower = (rows: number) => (rows & (rows - 1)) === 0;
  const ms: Record<string, number> = {};
  for (const rows of [...all.filter(isPower), ...all.filter((rows) => !isPower(rows))]) {
    if (performance.now() > until && !isPower(rows)) break;
    ms[rows] = await passes.median(rows, PAST, until);
  }
  return ms;
}

/** The usual prompts, plain and drafted in turn, as many of them as the time allows, but one. */
async function answers(
  engine: StepEngine,
  { manifest, text, parts }: LoadedBundle,
  maxTokens: number,
  until: number,
): Promise<Pick<GpuFigures, "plain_tokens_per_s" | "drafted">> {
  const options = { alpha: null, pack: null, heads: null, topK: null };
  const plain = parseMethod("ar", manifest, options);
  const methods = methodNames(manifest.latticeHeads > 0, manifest.calibration != null).map((name) =>
    parseMethod(name, manifest, options),
  );
  const loaded = await parts(methods);
  const limits = { maxTokens, eosTokens: manifest.eosTokens };
  const totals = new Map<Method, Total>([plain, ...methods].map((method) => [method, emptyTotal()]));
  for (const [i, prompt] of PROMPTS.entries()) {
    if (i > 0 && performance.now() > until) break;
    const tokens =
      manifest.chatTemplate === null ? text.prompt(prompt) : text.chat([{ role: "user", content: prompt }]);
    const task = { engine, model: manifest.name, prompt: tokens, limits, autoNodes: true };
    let truth: readonly number[] = [];
    for (const [method, total] of totals) {
      const { output, decodeMs, counters } = await complete(task, method, loaded, truth);
      if (method === plain) truth = output;
      total.tokens += output.length - 1;
      total.ms += decodeMs;
      total.steps += counters.steps;
      total.answers++;
      if (output.length === truth.length && output.every((token, n) => token === truth[n])) total.identical++;
    }
  }
  const rate = ({ tokens, ms }: Total) => (1000 * tokens) / ms;
  const plainRate = rate(totals.get(plain)!);
  const drafted = methods.map((method): [string, Drafted] => {
    const total = totals.get(method)!;
    const summary = {
      tokens_per_s: round(rate(total)),
      block_efficiency: round(total.tokens / total.steps),
      speedup: round(rate(total) / plainRate),
      identical: `${total.identical} of ${total.answers}`,
    };
    return [method.name, summary];
  });
  return { plain_tokens_per_s: round(plainRate), drafted: Object.fromEntries(drafted) };
}

interface Total {
  tokens: number;
  ms: number;
  steps: number;
  answers: number;
  identical: number;
}

function emptyTotal(): Total {
  return { tokens: 0, ms: 0, steps: 0, answers: 0, identical: 0 };
}

function methodNames(heads: boolean, calibrated: boolean): string[] {
  return [...(heads ? ["none"] : []), ...(calibrated ? ["tree"] : []), "prompt-lookup"];
}

function rounded(curve: Curve): Curve {
  return Object.fromEntries(Object.entries(curve).map(([key, ms]) => [key, round(ms)]));
}
