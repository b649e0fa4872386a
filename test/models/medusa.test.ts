import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ort from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { complete, NO_PARTS, type Task } from "../../bench/eval/complete.ts";
import { parseMethod } from "../../bench/eval/methods.ts";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { headsInfo } from "../../models/compile/heads.ts";
import { buildMedusaHeads, medusaHeads } from "../../models/compile/medusa.ts";
import { sealPackage } from "../../models/package.ts";
import { readSafetensors, type SafeTensors } from "../../models/safetensors.ts";
import { writeSafetensors } from "../../models/safetensors-writer.ts";
import { MODELS_DIR } from "../../models/source.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { Random } from "../helpers/random.ts";
import { naiveLlama } from "./naive-llama.ts";

const TOP_K = 6;

let dir = "";
const kept = process.env.FOREDRAFT_CACHE;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-medusa-"));
  process.env.FOREDRAFT_CACHE = join(dir, "cache");
});
afterAll(async () => {
  if (kept === undefined) delete process.env.FOREDRAFT_CACHE;
  else process.env.FOREDRAFT_CACHE = kept;
  await rm(dir, { recursive: true, force: true });
});

type Sizes = { readonly width: number; readonly vocabSize: number; readonly count: number; readonly blocks: number };

/** A file as `torch.save(model.medusa_head.state_dict())` has it, converted. */
async function medusaFile(name: string, { width, vocabSize, count, blocks }: Sizes, prefix = ""): Promise<string> {
  const random = new Random(41);
  const path = join(dir, name);
  const tensor = (own: string, shape: number[]) => ({
    name: `${prefix}${own}`,
    dtype: "F32" as const,
    shape,
    make: () =>
      Float32Array.from(
        { length: shape.reduce((a, b) => a * b) },
        () => (random.unit() - 0.5) * (4 / Math.sqrt(width)),
      ),
  });
  const tensors = Array.from({ length: count }, (_, j) => [
    ...Array.from({ length: blocks }, (_, block) => [
      tensor(`${j}.${block}.linear.weight`, [width, width]),
      tensor(`${j}.${block}.linear.bias`, [width]),
    ]).flat(),
    tensor(`${j}.${blocks}.weight`, [vocabSize, width]),
  ]).flat();
  await writeSafetensors(path, tensors, () => undefined);
  return path;
}

/** Log-probabilities of head `j` after the state h, by the formula of the published code. */
function logProbsOf(file: SafeTensors, { prefix, blocks }: { prefix: string; blocks: number }, j: number, h: number[]) {
  const product = (name: string, x: readonly number[]) => {
    const { shape, values } = file.get(`${prefix}${j}.${name}`);
    return Array.from({ length: shape[0]! }, (_, r) => x.reduce((sum, v, c) => sum + v * values[r * x.length + c]!, 0));
  };
  let state = h;
  for (let block = 0; block < blocks; block++) {
    const bias = file.floats(`${prefix}${j}.${block}.linear.bias`);
    const inner = product(`${block}.linear.weight`, state).map((v, i) => v + bias[i]!);
    state = state.map((v, i) => v + inner[i]! / (1 + Math.exp(-inner[i]!)));
  }
  const logits = product(`${blocks}.weight`, state);
  const mass = Math.log(logits.reduce((sum, v) => sum + Math.exp(v), 0));
  return logits.map((v) => v - mass);
}

describe("draft heads in Medusa's published format", () => {
  const sizes = { width: 32, vocabSize: 40, count: 3 };
  const { weights } = naiveLlama({ ...sizes, layers: 1, heads: 4, kvHeads: 2, ffn: 64, tied: true }, new Random(2));

  it.each([
    ["one block", 1, ""],
    ["two blocks, from a whole model's file", 2, "medusa_head."],
  ])("give the lattice of their formula: %s", async (_, blocks, prefix) => {
    const file = await readSafetensors(await medusaFile(`${blocks}.safetensors`, { ...sizes, blocks }, prefix));
    const info = medusaHeads(file)!;
    expect(info).toEqual({ prefix, count: 3, blocks });
    expect(headsInfo(file)).toEqual({ taps: [], count: 3, copy: null });
    const random = new Random(9);
    const hidden = Float32Array.from({ length: 2 * sizes.width }, () => random.unit() * 4 - 2);
    const session = await ort.InferenceSession.create(await buildMedusaHeads(weights, file, TOP_K, "fp32"));
    const out = await session.run({
      hidden: new ort.Tensor("float32", hidden, [2, sizes.width]),
      bonus: new ort.Tensor("int32", Int32Array.of(3, 5), [2]),
    });
    await session.release();
    expect(out.tokens!.dims).toEqual([2, 3, TOP_K]);
    for (const s of [0, 1]) {
      const state = [...hidden.subarray(s * sizes.width, (s + 1) * sizes.width)];
      for (let j = 0; j < 3; j++) {
        const expected = logProbsOf(file, info, j, state);
        const best = [...expected.keys()].sort((a, b) => expected[b]! - expected[a]!).slice(0, TOP_K);
        const at = (s * 3 + j) * TOP_K;
        const row = (values: ArrayLike<number | bigint>) =>
          Array.from({ length: TOP_K }, (_, k) => Number(values[at + k]));
        expect(row(out.tokens!.data as Int32Array)).toEqual(best);
        for (const [k, logProb] of row(out.log_probs!.data as Float32Array).entries()) {
          expect(logProb).toBeCloseTo(expected[best[k]!]!, 4);
        }
      }
    }
  });

  it.each([
    ["width", { width: 48, vocabSize: 40 }, "0.0.linear.weight is [48, 48], and of this model it would be [32, 32]"],
    ["vocabulary", { width: 32, vocabSize: 41 }, "0.1.weight is [41, 32], and of this model it would be [40, 32]"],
  ])("of another %s are refused by the tensor's name", async (name, other, message) => {
    const file = await readSafetensors(await medusaFile(`${name}.safetensors`, { ...other, count: 2, blocks: 1 }));
    await expect(buildMedusaHeads(weights, file, TOP_K, "int8")).rejects.toThrow(message);
  });
});

describe("a package with Medusa's heads", () => {
  /** `tiny` with other heads. */
  async function packageWith(precision: string): Promise<string> {
    const path = await mkdtemp(join(dir, "package-"));
    await cp(join(MODELS_DIR, "tiny"), path, { recursive: true });
    const source = JSON.parse(await readFile(join(path, "source.json"), "utf8"));
    await rm(join(path, "heads.safetensors"));
    // What goes with these heads alone.
    await rm(join(path, "pair.safetensors"), { force: true });
    const tiny = await manifestOf(await ensureBundle("tiny", { onNotice: () => undefined }));
    const { width, vocabSize } = tiny.architecture;
    await medusaFile("medusa_lm_head.safetensors", { width, vocabSize, count: 3, blocks: 1 });
    await cp(join(dir, "medusa_lm_head.safetensors"), join(path, "medusa_lm_head.safetensors"));
    const defaults = { ...source.defaults, heads: 3 };
    const changed = { ...source, name: "medusa", heads: "medusa_lm_head.safetensors", precision, defaults };
    await writeFile(join(path, "source.json"), JSON.stringify(changed));
    await sealPackage(path);
    return path;
  }

  it.each(["fp32", "int8"])("is served in %s, and its drafts change no token", async (precision) => {
    const bundle = await ensureBundle(await packageWith(precision), { onNotice: () => undefined });
    const manifest = await manifestOf(bundle);
    expect(manifest).toMatchObject({ latticeHeads: 3, taps: [], copyHeads: null, precision });
    const engine = await createInProcessEngine(bundle, { threads: 1 });
    try {
      const options = { alpha: null, pack: null, heads: null, topK: null };
      const limits = { maxTokens: 24, eosTokens: manifest.eosTokens };
      const prompt = Uint32Array.of(5, 60, 7, 200, 5, 60);
      const task: Task = { engine, model: manifest.name, prompt, limits, autoNodes: false };
      const plain = await complete(task, parseMethod("ar", manifest, options), NO_PARTS, []);
      const drafted = await complete(task, parseMethod("none", manifest, options), NO_PARTS, []);
      expect(drafted.output).toEqual(plain.output);
      expect(drafted.counters.draftedTokens).toBeGreaterThan(0);
    } finally {
      await engine.close();
    }
  });
});

async function manifestOf(bundle: string): Promise<BundleManifest> {
  return JSON.parse(await readFile(join(bundle, "manifest.json"), "utf8")) as BundleManifest;
}
