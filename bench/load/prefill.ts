import { type Client, timeAnswer } from "../decode/http.ts";
import type { Llama } from "../decode/llama.ts";
import { median, round } from "../decode/stats.ts";
import type { Keys } from "./servers.ts";

const TIMES = 5;
/** Streams that decode while prompts are prefilled, and those prompts. */
const DECODING = 8;
const PREFILLS = 6;

type At = Omit<Client, "key">;

/** Time to the first token of prompts never seen before, and of the same once more, ms; medians. */
export async function measurePrefill(
  at: At,
  keys: Keys,
  llama: Llama | null,
  lengths: readonly number[],
  vocabSize: number,
): Promise<Record<string, object>> {
  const results: Record<string, object> = {};
  for (const length of lengths) {
    const first: number[] = [];
    const again: number[] = [];
    const other: number[] = [];
    for (let i = 0; i < TIMES; i++) {
      const client = { ...at, key: keys.next() };
      const tokens = promptOf(length, i, vocabSize);
      first.push((await timeAnswer(client, { tokens }, 1, {})).ttftMs);
      again.push((await timeAnswer(client, { tokens }, 1, {})).ttftMs);
      if (llama === null) continue;
      await llama.renew(1, length + 8);
      other.push((await llama.answer(0, tokens, 1)).times[0]!);
    }
    const llamaMs = other.length > 0 ? round(median(other), 0) : null;
    results[length] = { foredraft: round(median(first), 0), llama_cpp: llamaMs, again: round(median(again), 0) };
  }
  return results;
}

/** The longest wait between blocks of streams that decode while long prompts are prefilled, ms. */
export async function stallMs(at: At, keys: Keys, prompts: readonly string[], length: number, vocabSize: number) {
  const key = keys.next();
  let prefilling = true;
  const gaps: number[] = [];
  const decode = async (index: number) => {
    for (let i = index; prefilling; i += DECODING) {
      const content = prompts[i % prompts.length]!;
      gaps.push(...(await timeAnswer({ ...at, key }, { content }, 96, {})).gapsMs);
    }
  };
  const decoding = Promise.all(Array.from({ length: DECODING }, (_, index) => decode(index)));
  for (let i = 0; i < PREFILLS; i++) {
    await timeAnswer({ ...at, key }, { tokens: promptOf(length, 100 + i, vocabSize) }, 1, {});
  }
  prefilling = false;
  await decoding;
  return round(Math.max(...gaps), 0);
}

/** Tokens in no order, other ones for each seed. */
function promptOf(length: number, seed: number, vocabSize: number): number[] {
  let state = seed * 2654435761 + 1;
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 100 + (state % (vocabSize - 200));
  });
}
