import { open, readFile } from "node:fs/promises";
import * as z from "zod";
import type { Model } from "../bench/eval/cases.ts";
import { complete, NO_PARTS } from "../bench/eval/complete.ts";
import { parseMethod } from "../bench/eval/methods.ts";
import type { EvalRow } from "../bench/eval/rows.ts";
import { LIMITS } from "../shared/limits.ts";
import type { Work } from "./work.ts";

/** One prompt and the model's own answer, tokens; the end-of-text token included. */
export interface Text {
  readonly id: string;
  readonly prompt: readonly number[];
  readonly output: readonly number[];
}

const schema = z.object({ id: z.string(), prompt: z.array(z.int()), output: z.array(z.int()) });

/** Answers that are written at once: they share the model's passes. */
const AT_ONCE = 8;

/**
 * Answers rows greedily, in order, until the step's time is spent, and appends each to texts.jsonl as it is done; those
 * already there are not written again. Resolves all of them.
 */
export async function writeTexts(
  work: Work,
  rows: readonly EvalRow[],
  model: Model,
  maxTokens: number,
  onProgress: (share: number) => void,
  signal: AbortSignal,
): Promise<Text[]> {
  const path = work.path("texts.jsonl");
  const { texts, cut } = await readTexts(path);
  const known = new Set(texts.map(({ id }) => id));
  const left = rows.filter(({ id }) => !known.has(id));
  if (left.length === 0 || work.left("text") === 0) return texts;
  const file = await open(path, "a");
  if (cut) await file.appendFile("\n");
  const plain = parseMethod("ar", model.manifest, { alpha: null, pack: null, heads: null, topK: null });
  const { contextTokens } = model.manifest.architecture;
  try {
    await work.timed("text", async (tick) => {
      const answer = async (row: EvalRow): Promise<void> => {
        const prompt = promptOf(row, model);
        if (prompt.length === 0 || prompt.length + maxTokens > Math.min(contextTokens, LIMITS.contextTokens)) return;
        const limits = { maxTokens, eosTokens: model.manifest.eosTokens };
        const task = { engine: model.engine, model: model.manifest.name, prompt, limits, autoNodes: false };
        const { output } = await complete(task, plain, NO_PARTS, []);
        const text = { id: row.id, prompt: [...prompt], output: [...output] };
        await file.appendFile(`${JSON.stringify(text)}\n`);
        texts.push(text);
      };
      const writer = async () => {
        for (let row = left.shift(); row !== undefined; row = left.shift()) {
          signal.throwIfAborted();
          await answer(row);
          const share = Math.max(await tick(), 1 - left.length / rows.length);
          onProgress(Math.min(1, share));
          if (share >= 1) return;
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, writer));
    });
  } finally {
    await file.close();
  }
  return texts;
}

/** What is asked first. */
function promptOf({ input }: EvalRow, { text }: Model): Uint32Array {
  if (input.kind === "prompt") return text.prompt(input.prompt);
  return text.chat([...input.before, { role: "user", content: input.turns[0]! }]);
}

/** Whole lines, and whether the last one has been cut off. */
async function readTexts(path: string): Promise<{ texts: Text[]; cut: boolean }> {
  const stored = await readFile(path, "utf8").catch(() => "");
  const texts = stored.split("\n").flatMap((line) => {
    const parsed = schema.safeParse(parseJson(line));
    return parsed.success ? [parsed.data] : [];
  });
  return { texts, cut: stored !== "" && !stored.endsWith("\n") };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
