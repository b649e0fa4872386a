import { type Llama, obtainLlama } from "../decode/llama.ts";
import { emptyCounters } from "../eval/counters.ts";
import type { OtherProgram } from "../eval/evaluate.ts";

/** llama.cpp on the same weights: plainly, and with the lookup in the prompt that node-llama-cpp has. Their sequences. */
const SEQUENCES = ["llama.cpp", "llama.cpp-lookup"] as const;

/** Tokens of a sequence. */
const CONTEXT = 8192;

export const LLAMA_METHODS: readonly string[] = SEQUENCES;

/** Those of `names` that llama.cpp runs, and what ends it. Says so and leaves them out where it cannot be had. */
export async function llamaPrograms(
  names: readonly string[],
  bundle: string,
  threads: number,
): Promise<{ readonly programs: readonly OtherProgram[]; close(): void }> {
  const wanted = SEQUENCES.filter((name) => names.includes(name));
  if (wanted.length === 0) return { programs: [], close() {} };
  const [llama, whyNot] = await obtainLlama(bundle, threads);
  if (llama === null) {
    console.error(`without llama.cpp: ${whyNot}`);
    return { programs: [], close() {} };
  }
  await llama.renew(SEQUENCES.length, CONTEXT, 1);
  const programs = wanted.map((name) => programOf(llama, name));
  return { programs, close: () => llama.close() };
}

function programOf(llama: Llama, name: (typeof SEQUENCES)[number]): OtherProgram {
  return {
    name,
    async answer({ prompt, limits }) {
      const { times, tokens } = await llama.answer(SEQUENCES.indexOf(name), [...prompt], limits.maxTokens);
      const counters = { ...emptyCounters(), tokens: tokens.length - 1, outputTokens: tokens.length };
      const decodeMs = (times.at(-1) ?? 0) - (times[0] ?? 0);
      return { output: [...tokens], counters, logProbs: [], runnersUp: [], decodeMs };
    },
  };
}
