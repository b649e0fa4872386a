import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ARCHITECTURES } from "../../models/architectures/index.ts";
import { buildBase } from "../../models/compile/base.ts";
import { GgufFile } from "../../models/gguf.ts";
import { readLlama } from "../../models/llama.ts";
import { BaseRunner } from "./base-runner.ts";
import { SMALL, SMALL_MODELS } from "./small-models.ts";

/** Written by train/small_models.py: transformers' account of a small random model. */
interface Expected {
  readonly prompt: readonly number[];
  /** Positions of the prompt, and their logits. */
  readonly shown: readonly number[];
  readonly logits: readonly (readonly number[])[];
  /** Continuation, and how far each token's logit was ahead of the next one's. */
  readonly greedy: readonly number[];
  readonly lead: readonly number[];
}

/** Order of float32 sums. */
const TOLERANCE = 1e-3;

const expectedOf = (name: string) => JSON.parse(readFileSync(join(SMALL, `${name}.json`), "utf8")) as Expected;

async function runnerOf(name: string): Promise<BaseRunner> {
  const llama = await readLlama(await GgufFile.open(join(SMALL, `${name}.gguf`)));
  const graph = await buildBase(llama, 128, [], "fp32");
  llama.assertComplete();
  return await BaseRunner.open(graph, llama.config);
}

it("has a small model of every architecture", async () => {
  const files = await Promise.all(SMALL_MODELS.map((name) => GgufFile.open(join(SMALL, `${name}.gguf`))));
  const names = new Set(files.map((file) => file.string("general.architecture")));
  expect([...names].sort()).toEqual(ARCHITECTURES);
});

describe.each(SMALL_MODELS)("%s", (name) => {
  it("has the reference's logits", async () => {
    const { prompt, shown, logits } = expectedOf(name);
    const runner = await runnerOf(name);
    const out = await runner.run(prompt);
    for (const [i, at] of shown.entries()) {
      const row = out.logits.subarray(at * logits[i]!.length, (at + 1) * logits[i]!.length);
      const worst = Math.max(...logits[i]!.map((value, token) => Math.abs(value - row[token]!)));
      expect(worst, `position ${at}`).toBeLessThan(TOLERANCE);
    }
    await runner.close();
  });

  it("chooses the reference's tokens, one by one and in trees with wrong turns", async () => {
    const { prompt, greedy, lead } = expectedOf(name);
    expect(Math.min(...lead)).toBeGreaterThan(2 * TOLERANCE);
    const runner = await runnerOf(name);
    const first = await runner.run(prompt);
    expect(first.argmax.at(-1)).toBe(greedy[0]);
    // A tree: the token just chosen, a wrong one after it, the right one, a wrong one and the right one after that.
    for (let at = 0; at + 3 < greedy.length; at += 3) {
      const wrong = (token: number) => (token + 1) % 256;
      const rows = [greedy[at]!, wrong(greedy[at + 1]!), greedy[at + 1]!, wrong(greedy[at + 2]!), greedy[at + 2]!];
      const out = await runner.run(rows, [-1, 0, 0, 2, 2], [0, 2, 4]);
      expect([out.argmax[0], out.argmax[2], out.argmax[4]]).toEqual(greedy.slice(at + 1, at + 4));
    }
    await runner.close();
  });
});
