import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { bundleInfo, readBundle } from "../../gpu-worker/bundle.ts";
import { ensureBundle } from "../../models/bundle.ts";
import type { BundleManifest } from "../../shared/manifest.ts";

let tiny: string;
let dir: string;
beforeAll(async () => {
  tiny = await ensureBundle("tiny");
});
beforeEach(async () => {
  dir = join(await mkdtemp(join(tmpdir(), "foredraft-bundle-")), "tiny");
  await cp(tiny, dir, { recursive: true });
});
afterEach(() => rm(join(dir, ".."), { recursive: true, force: true }));

async function rewrite(change: (manifest: Record<string, unknown>) => void): Promise<void> {
  const path = join(dir, "manifest.json");
  const manifest = JSON.parse(await readFile(path, "utf8"));
  change(manifest);
  await writeFile(path, JSON.stringify(manifest));
}

test("a compiled bundle is read, with the shapes of its manifest", async () => {
  const manifest: BundleManifest = JSON.parse(await readFile(join(dir, "manifest.json"), "utf8"));
  const { ropeFrequencies, ...architecture } = manifest.architecture;
  const { costs, precision, taps, latticeHeads, topK, copyHeads } = manifest;
  const bundle = await readBundle(dir);
  expect(bundle).toMatchObject({ name: "tiny", tokenizerHash: manifest.tokenizer.sha256, precision, costs });
  // A manifest that names no traits has Llama's.
  const traits = {
    ...{ biases: false, headNorms: false, postNorms: false, gelu: false },
    ...{ attentionScale: 1 / Math.sqrt(architecture.headDim), attentionCap: null, logitCap: null },
    ...{ window: null, localRopeFrequencies: null },
    blocks: Array.from({ length: architecture.layers }, () => ({ rotary: "global", windowed: false })),
  };
  expect(bundle.shape).toEqual({ ...architecture, traits, taps, latticeHeads, topK, copyHeads });
  expect(bundle.ropeFrequencies).toEqual(ropeFrequencies);
  expect([bundle.precision, bundle.basePath]).toEqual(["int8", join(dir, "base.safetensors")]);
});

test("an absent bundle is named together with the remedy", async () => {
  await expect(readBundle(join(dir, "other"))).rejects.toThrow(/no bundle at .*other.*npm run bundle/);
});

test("the remedy for another precision asks for that one", async () => {
  await expect(readBundle(join(dir, "..", "tiny-int8"))).rejects.toThrow("npm run bundle -- tiny --precision int8");
});

test("another precision of it is read from beside it, with the same shapes", async () => {
  const [integers, floats] = [
    await readBundle(dir),
    await readBundle(await ensureBundle("tiny", { precision: "fp32" })),
  ];
  expect(floats).toMatchObject({ name: "tiny", precision: "fp32", shape: integers.shape, costs: integers.costs });
  expect(basename(floats.basePath)).toBe("base.onnx");
});

test("what is served has the model's context, or as much of it as the cache holds", async () => {
  const bundle = await readBundle(dir);
  const { contextTokens, vocabSize, latticeHeads, topK } = bundle.shape;
  const info = bundleInfo(bundle, "cpu", 1_000);
  expect(info).toMatchObject({ model: "tiny", contextTokens, vocabSize, latticeHeads, topK, provider: "cpu" });
  expect(info).toMatchObject({ tokenizerHash: bundle.tokenizerHash, costs: bundle.costs, neural: true });
  expect(bundleInfo(bundle, "cpu", 5).contextTokens).toBe(80);
});

test.each(["base.safetensors", "heads.safetensors", "neural.onnx", "tokenizer.json"])(
  "a changed %s is refused",
  async (file) => {
    const bytes = await readFile(join(dir, file));
    bytes[bytes.length >> 1]! ^= 1;
    await writeFile(join(dir, file), bytes);
    await expect(readBundle(dir)).rejects.toThrow(`${file} is not the file its manifest names`);
  },
);

test("a missing file is refused", async () => {
  await rm(join(dir, "heads.safetensors"));
  await expect(readBundle(dir)).rejects.toThrow("heads.safetensors cannot be read");
});

test("a manifest of another format is refused, naming the field", async () => {
  await rewrite((manifest) => {
    manifest.format = 1;
  });
  await expect(readBundle(dir)).rejects.toThrow(/another format \(format\)/);
});

test.each([
  ["precision", "int4"],
  ["taps", [-1]],
  ["costs", { pass: 1, row: 1, wanted: 1, context: 1 }],
])("a manifest whose %s is not understood is refused, naming the field", async (field, value) => {
  await rewrite((manifest) => {
    manifest[field] = value;
  });
  await expect(readBundle(dir)).rejects.toThrow(new RegExp(`another format \\(${field}`));
});

test("a manifest cut short is refused", async () => {
  await writeFile(join(dir, "manifest.json"), '{"format": 2');
  await expect(readBundle(dir)).rejects.toThrow("another format");
});
