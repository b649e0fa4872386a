import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ensureBundle } from "../../models/bundle.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { Llama } from "../decode/llama.ts";
import { complete, NO_PARTS } from "../eval/complete.ts";
import { parseMethod } from "../eval/methods.ts";
import { count } from "../eval/options.ts";

const CONTEXT = 512;
/** A lead that the cache in float16, which llama.cpp keeps by default, may turn round; nats. */
const TIE = 0.05;
const PROMPT_TOKENS = 24;

export const AGREE_HELP = `npm run bench -- agree --model FILE.gguf [--model FILE.gguf ...] [options]
Greedy tokens of the float32 graph beside llama.cpp's on the same file, after prompts of random tokens.
  --prompts N     (20)
  --max-tokens N  per prompt (48)`;

/** One prompt where both differ: at which token, and how far ahead of the next one ours was there. */
interface Difference {
  readonly prompt: number;
  readonly at: number;
  readonly lead: number;
}

/** What a file's prompts came to. */
interface Agreement {
  readonly model: string;
  readonly prompts: number;
  /** Compared, all prompts together. */
  readonly tokens: number;
  /** Prompts that part where ours led by no more than `tie` nats. */
  readonly ties: number;
  /** Prompts that part elsewhere. */
  readonly faults: readonly Difference[];
  readonly tie: number;
}

export async function benchAgree(args: readonly string[]): Promise<object> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      model: { type: "string", multiple: true },
      prompts: { type: "string", default: "20" },
      "max-tokens": { type: "string", default: "48" },
    },
  });
  const { model: files } = values;
  if (files === undefined) throw new Error("--model FILE.gguf is needed");
  const prompts = count("--prompts", values.prompts, 10_000) ?? 1;
  const maxTokens = count("--max-tokens", values["max-tokens"], CONTEXT - PROMPT_TOKENS) ?? 1;
  const models: Agreement[] = [];
  for (const gguf of files) {
    const agreement = await agree(gguf, prompts, maxTokens);
    const { model, tokens, ties, faults } = agreement;
    console.log(`${model}: ${tokens} tokens compared, ${ties} prompts part at a tie, ${faults.length} elsewhere`);
    models.push(agreement);
  }
  return { models };
}

/** What comes after the first different token has another past, so only that one is judged: a tie, or a fault. */
export async function agree(gguf: string, prompts: number, maxTokens: number): Promise<Agreement> {
  const bundle = await ensureBundle(gguf, { precision: "fp32", onNotice: () => undefined });
  const manifest = JSON.parse(await readFile(join(bundle, "manifest.json"), "utf8")) as BundleManifest;
  const engine = await createInProcessEngine(bundle, {});
  const llama = await Llama.start(gguf, 1);
  const differences: Difference[] = [];
  let tokens = 0;
  try {
    await llama.renew(1, CONTEXT);
    const plain = parseMethod("ar", manifest, { alpha: null, pack: null, heads: null, topK: null });
    for (let i = 0; i < prompts; i++) {
      const prompt = randomPrompt(i, manifest.architecture.vocabSize);
      const limits = { maxTokens, eosTokens: manifest.eosTokens };
      const task = { engine, model: manifest.name, prompt, limits, autoNodes: false };
      const ours = await complete(task, plain, NO_PARTS, [], 2);
      const theirs = (await llama.answer(0, [...prompt], maxTokens)).tokens;
      const length = Math.min(ours.output.length, theirs.length);
      const at = ours.output.slice(0, length).findIndex((token, n) => token !== theirs[n]);
      tokens += at < 0 ? length : at + 1;
      if (at < 0) continue;
      const [first = 0, second = Number.NEGATIVE_INFINITY] = ours.logProbs[at]?.topLogProbs ?? [];
      differences.push({ prompt: i, at, lead: first - second });
    }
  } finally {
    llama.close();
    await engine.close();
  }
  const faults = differences.filter(({ lead }) => lead > TIE);
  const ties = differences.length - faults.length;
  return { model: basename(gguf), prompts, tokens, ties, faults, tie: TIE };
}

/** Tokens of no control meaning in most vocabularies; the same for the same number. */
function randomPrompt(seed: number, vocabSize: number): Uint32Array {
  let state = seed + 1;
  return Uint32Array.from({ length: PROMPT_TOKENS }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return 8 + Math.floor((state / 2 ** 32) * (Math.min(vocabSize, 1 << 16) - 40));
  });
}
