import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { compare } from "../../bench/commands/fidelity.ts";
import { loadBundle as loadText } from "../../bench/eval/model.ts";
import { type LoadedModel, loadBundle } from "../../gpu-worker/load.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { ROOT } from "../../scripts/paths.ts";
import type { Precision } from "../../shared/manifest.ts";

const loaded: LoadedModel[] = [];
afterAll(() => Promise.all(loaded.flatMap(({ model, neural }) => [model.release(), neural?.release()])));

async function tiny(precision: Precision): Promise<LoadedModel["model"]> {
  const one = await loadBundle(await ensureBundle("tiny", { precision }), { threads: 1, kvLimitBytes: 16 << 20 });
  loaded.push(one);
  return one.model;
}

it("tells what integers and halves lose of a text, and that float32 loses nothing", { timeout: 60_000 }, async () => {
  const { text } = await loadText(await ensureBundle("tiny"), "tiny");
  const tokens = text.prompt(await readFile(join(ROOT, "README.md"), "utf8")).subarray(0, 300);
  const reference = await tiny("fp32");

  const same = await compare(reference, await tiny("fp32"), tokens);
  expect(same).toMatchObject({ tokens: 298, perplexity_rise_percent: 0, kl_nats: 0, same_likeliest_percent: 100 });
  expect(same.perplexity).toBe(same.perplexity_fp32);

  const halves = await compare(reference, await tiny("fp16"), tokens);
  expect(halves.same_likeliest_percent).toBeGreaterThan(97);
  expect(Math.abs(halves.perplexity_rise_percent)).toBeLessThan(0.5);

  const integers = await compare(reference, await tiny("int8"), tokens);
  expect(integers.kl_nats).toBeGreaterThan(halves.kl_nats);
  expect(integers.perplexity_fp32).toBe(same.perplexity_fp32);
});
