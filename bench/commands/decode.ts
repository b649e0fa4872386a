import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBundle } from "../../models/bundle.ts";
import { startStack } from "../../scripts/stack.ts";
import { measureEngine } from "../decode/engine-step.ts";
import { type Timed, timeAnswer } from "../decode/http.ts";
import { type Llama, obtainLlama } from "../decode/llama.ts";
import { PROMPTS } from "../decode/prompts.ts";
import { median, round } from "../decode/stats.ts";
import { loadBundle } from "../eval/model.ts";
import { count } from "../eval/options.ts";

const MAX_TOKENS = 128;
/** Of llama.cpp, tokens. */
const CONTEXT = 2048;

export const DECODE_HELP = `npm run bench -- decode [options]
Decoding speed over the full path (HTTP, edge in workerd, gpu-worker), plain and with drafts, beside llama.cpp.
  --bundle NAME   (smollm2-135m)
  --rounds N      medians over so many (3)`;

/**
 * Decoding speed over the full path (HTTP, edge in workerd, gpu-worker) plain and with drafts, beside llama.cpp
 * on the same weights and prompts: one after the other within each round, medians over prompts and rounds.
 */
export async function benchDecode(args: readonly string[]): Promise<object> {
  const { values } = parseArgs({
    args: [...args],
    options: { bundle: { type: "string", default: "smollm2-135m" }, rounds: { type: "string", default: "3" } },
  });
  const name = values.bundle;
  const rounds = count("--rounds", values.rounds, 1000) ?? 1;
  const bundleDir = await ensureBundle(name);
  console.error("bare onnxruntime and the engine ...");
  const costs = await measureEngine(bundleDir);
  const threads = availableParallelism();
  const [llama, whyNot] = await obtainLlama(name, threads);
  const assetsDir = await mkdtemp(join(tmpdir(), "foredraft-bench-"));
  const stack = await startStack({ bundle: name, bundleDir, assetsDir, rateLimit: { limit: 100_000, period: 60 } });
  try {
    const { text } = await loadBundle(bundleDir, name);
    const client = { url: stack.edge.url, model: name, key: null };
    await llama?.renew(1, CONTEXT);
    const plain: Timed[] = [];
    const drafted: Timed[] = [];
    const other: number[] = [];
    for (let round = 0; round < rounds; round++) {
      for (const prompt of PROMPTS) {
        plain.push(await timeAnswer(client, { content: prompt }, MAX_TOKENS, { enabled: false }));
        drafted.push(await timeAnswer(client, { content: prompt }, MAX_TOKENS, {}));
        if (llama) other.push(await decodeRate(llama, text.chat([{ role: "user", content: prompt }])));
      }
      console.error(`round ${round + 1} of ${rounds}`);
    }
    report(plain, drafted, other);
    return summary(plain, drafted, other, whyNot, costs, { bundle: name, rounds, threads });
  } finally {
    llama?.close();
    await stack.close();
    await rm(assetsDir, { recursive: true, force: true });
  }
}

async function decodeRate(llama: Llama, prompt: Uint32Array): Promise<number> {
  const { times } = await llama.answer(0, [...prompt], MAX_TOKENS);
  return (times.length - 1) / ((times.at(-1)! - times[0]!) / 1000);
}

function report(plain: readonly Timed[], drafted: readonly Timed[], other: readonly number[]): void {
  console.log("prompt  plain tok/s  drafted tok/s  llama.cpp tok/s  tokens  steps");
  for (const [i, p] of plain.entries()) {
    const d = drafted[i]!;
    const cells = [p.tokensPerSecond, d.tokensPerSecond, other[i] ?? Number.NaN].map((v) => v.toFixed(1).padStart(12));
    console.log(
      `${String(i % PROMPTS.length).padStart(6)} ${cells.join(" ")} ${String(d.tokens).padStart(7)} ${d.steps}`,
    );
  }
}

function summary(
  plain: readonly Timed[],
  drafted: readonly Timed[],
  other: readonly number[],
  whyNot: string | null,
  costs: Awaited<ReturnType<typeof measureEngine>>,
  settings: object,
): object {
  const rate = (runs: readonly Timed[]) => median(runs.map((r) => r.tokensPerSecond));
  const ar = rate(plain);
  const fast = rate(drafted);
  const llama = other.length > 0 ? median(other) : null;
  const tokens = drafted.reduce((sum, d) => sum + d.tokens - 1, 0);
  return {
    ar_tokens_per_s: round(ar),
    speculative_tokens_per_s: round(fast),
    llama_cpp_tokens_per_s: llama === null ? null : round(llama),
    llama_cpp_missing: whyNot,
    ratio_ar_to_llama_cpp: llama === null ? null : round(ar / llama),
    speedup: round(fast / ar),
    speedup_per_prompt: round(median(drafted.map((d, i) => d.tokensPerSecond / plain[i]!.tokensPerSecond))),
    block_efficiency: round(tokens / drafted.reduce((sum, d) => sum + d.steps, 0)),
    bare_step_ms: round(costs.bareStepMs),
    engine_step_ms: round(costs.engineStepMs),
    bare_step_8_ms: round(costs.bareStep8Ms),
    engine_step_8_ms: round(costs.engineStep8Ms),
    edge_overhead_ms_per_step: round(median(plain.map((p) => p.wireMs))),
    edge_step_ms: round(median(plain.map((p) => p.stepMs))),
    context_cost_ms: Object.fromEntries(Object.entries(costs.contextMs).map(([tokens, ms]) => [tokens, round(ms)])),
    cost_curve_ms: Object.fromEntries(Object.entries(costs.costCurveMs).map(([rows, ms]) => [rows, round(ms)])),
    settings: {
      ...settings,
      max_tokens: MAX_TOKENS,
      prompts: PROMPTS.length,
      cpu: cpus()[0]?.model ?? "",
      node: process.version,
    },
  };
}
