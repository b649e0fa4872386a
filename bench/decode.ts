import { mkdtemp, readFile, rm } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createTokenizer } from "../edge/text/tokenizer.ts";
import { ensureBundle } from "../models/bundle.ts";
import { pull } from "../models/pull.ts";
import { readSource } from "../models/source.ts";
import { startStack } from "../scripts/stack.ts";
import { measureEngine } from "./decode/engine-step.ts";
import { type Timed, timeAnswer } from "./decode/http.ts";
import { type Llama, startLlama } from "./decode/llama.ts";
import { PROMPTS } from "./decode/prompts.ts";
import { median, round } from "./decode/stats.ts";
import { count } from "./eval/options.ts";

const MAX_TOKENS = 128;

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
    const encode = await chatEncoder(bundleDir);
    const plain: Timed[] = [];
    const drafted: Timed[] = [];
    const other: number[] = [];
    for (let round = 0; round < rounds; round++) {
      for (const prompt of PROMPTS) {
        plain.push(await timeAnswer(stack.edge.url, name, prompt, MAX_TOKENS, { enabled: false }));
        drafted.push(await timeAnswer(stack.edge.url, name, prompt, MAX_TOKENS, {}));
        if (llama) other.push(await llama.run(encode(prompt), MAX_TOKENS));
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

async function obtainLlama(bundle: string, threads: number): Promise<[Llama | null, string | null]> {
  try {
    const gguf = await pull(await readSource(bundle));
    return [await startLlama(gguf, threads), null];
  } catch (error) {
    return [null, (error as Error).message.split("\n")[0] ?? ""];
  }
}

/** Prompts as tokens, for llama.cpp: the ChatML that the bundle's template writes for one user message. */
async function chatEncoder(bundleDir: string): Promise<(prompt: string) => number[]> {
  const tokenizer = createTokenizer(await readFile(join(bundleDir, "tokenizer.json")));
  const system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
  return (prompt) =>
    tokenizer.encodeMarked(
      `<|im_start|>system\n${system}<|im_end|>\n<|im_start|>user\n${prompt}<|im_end|>\n<|im_start|>assistant\n`,
    );
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
