import type { Tokens } from "../train/ngram/token-file.ts";
import { type PackedBundle, promptsOf } from "./own-pack.ts";

const PROMPTS = 6;
const PROMPT_TOKENS = 48;
const ANSWER_TOKENS = 48;

/** What answers to a text's prompts took with the drafts of one kind. */
export interface Compared {
  readonly kind: string;
  /** Tokens committed per model call. */
  readonly blockEfficiency: number;
  readonly tokensPerSecond: number;
}

/**
 * Answers greedily to prompts out of `tokens`, with each pack in turn and with none (null), and counts the model calls that it
 * took. The answers are the same; only the drafts differ.
 */
export async function comparePacks(
  url: string,
  model: string,
  packs: readonly (string | null)[],
  tokens: Tokens,
  signal: AbortSignal,
): Promise<Compared[]> {
  const totals = packs.map(() => ({ tokens: 0, steps: 0, ms: 0 }));
  for (const [at, prompt] of promptsOf(tokens, PROMPTS, PROMPT_TOKENS).entries()) {
    for (let turn = 0; turn < packs.length; turn++) {
      // Each is first as often as the others: the first finds the prompt not computed yet.
      const i = (at + turn) % packs.length;
      const pack = packs[i]!;
      const rescorer = pack === null ? { alpha: 0 } : { model: pack };
      const body = { model, prompt, max_tokens: ANSWER_TOKENS, temperature: 0, speculation: { rescorer } };
      const { usage, metrics } = await ask(url, body, signal);
      const total = totals[i]!;
      total.tokens += usage.completion_tokens - 1;
      total.steps += metrics.speculative_decoding.num_spec_steps;
      total.ms += metrics.timings.total_ms - metrics.timings.ttft_ms;
    }
  }
  return totals.map(({ tokens: made, steps, ms }, i) => ({
    kind: packs[i] ?? "none",
    blockEfficiency: steps === 0 ? 0 : made / steps,
    tokensPerSecond: ms === 0 ? 0 : (made * 1000) / ms,
  }));
}

/** In words: block efficiency and speed with the text's pack, with the model's own, and with none. */
export async function packWorth(
  url: string,
  model: string,
  { pack, other, heldOut, perplexity }: PackedBundle,
  signal: AbortSignal,
): Promise<string> {
  const packs = [pack.name, ...(other === null ? [] : [other]), null];
  const results = await comparePacks(url, model, packs, heldOut, signal);
  const width = Math.max(...results.map(({ kind }) => kind.length));
  const rows = results.map(({ kind, blockEfficiency, tokensPerSecond }) => {
    const figures = `${blockEfficiency.toFixed(2)} tokens per model call, ${tokensPerSecond.toFixed(1)} tokens/s`;
    return `  ${kind.padEnd(width)}  ${figures}`;
  });
  const best = results.toSorted((a, b) => b.blockEfficiency - a.blockEfficiency)[0]!;
  const instead = best.kind === "none" ? `"alpha": 0` : `"model": "${best.kind}"`;
  const advice = `Here the pack does not pay; {"speculation": {"rescorer": {${instead}}}} in a request drafts without it.`;
  return [
    `Pack "${pack.name}": ${pack.ngrams} n-grams, perplexity ${perplexity.perplexity.toFixed(1)} on the text's last tenth,`,
    "which it has not seen. Answers to prompts from there, drafted with",
    ...rows,
    ...(best.kind === pack.name ? [] : [advice]),
  ].join("\n");
}

interface Answer {
  readonly usage: { readonly completion_tokens: number };
  readonly metrics: {
    readonly speculative_decoding: { readonly num_spec_steps: number };
    readonly timings: { readonly total_ms: number; readonly ttft_ms: number };
  };
}

async function ask(url: string, body: object, signal: AbortSignal): Promise<Answer> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) throw new Error(`the comparison failed: HTTP ${response.status} ${await response.text()}`);
  return (await response.json()) as Answer;
}
