import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ensureBundle } from "../../models/bundle.ts";
import { sha256OfFile } from "../../models/cache.ts";
import { calibrationPath, readCalibration } from "../../models/calibration.ts";
import { headsInfo } from "../../models/compile/heads.ts";
import { GgufFile } from "../../models/gguf.ts";
import { seal } from "../../models/intact.ts";
import { readLlama } from "../../models/llama.ts";
import { readSafetensors } from "../../models/safetensors.ts";
import { MODELS_DIR, readSource } from "../../models/source.ts";
import { type BundleManifest, MANIFEST_FORMAT } from "../../shared/manifest.ts";
import { readPackHeader } from "../../shared/ngram/format.ts";
import { EVIDENCE, evidenceOf } from "../../shared/rescore/calibration.ts";
import { weightsAtHand } from "./weights.ts";

let cache = "";
let dir = "";
let manifest: BundleManifest;
const kept = process.env.FOREDRAFT_CACHE;

beforeAll(async () => {
  cache = await mkdtemp(join(tmpdir(), "foredraft-test-"));
  process.env.FOREDRAFT_CACHE = cache;
  dir = await ensureBundle("tiny");
  manifest = JSON.parse(await readFile(join(dir, "manifest.json"), "utf8")) as BundleManifest;
});
afterAll(async () => {
  if (kept === undefined) delete process.env.FOREDRAFT_CACHE;
  else process.env.FOREDRAFT_CACHE = kept;
  await rm(cache, { recursive: true, force: true });
});

const madeAt = async () => (await stat(join(dir, "manifest.json"))).mtimeMs;

describe("ensureBundle", () => {
  it("writes every file the manifest names, with its size and hash", async () => {
    expect(manifest.format).toBe(MANIFEST_FORMAT);
    expect(manifest.name).toBe("tiny");
    const { base, heads, neural } = manifest.graphs;
    const entries = [base, heads!, neural!, manifest.tokenizer, ...manifest.packs];
    for (const { path, bytes, sha256 } of entries) {
      expect((await stat(join(dir, path))).size, path).toBe(bytes);
      expect(await sha256OfFile(join(dir, path)), path).toBe(sha256);
    }
    for (const pack of manifest.packs) {
      const header = readPackHeader(await readFile(join(dir, pack.path)));
      expect(header.tokenizerHash).toBe(manifest.tokenizer.sha256);
      expect(header.vocabSize).toBe(manifest.architecture.vocabSize);
      expect(pack.order).toBe(header.order);
    }
  });

  it("leaves nothing else beside the bundle and does not compile the same inputs again", async () => {
    const before = await madeAt();
    expect(await ensureBundle("tiny")).toBe(dir);
    expect(await madeAt()).toBe(before);
    expect(await readdir(join(cache, "bundles"))).toEqual(["tiny"]);
  });

  it("takes another calibration into the manifest without compiling again", async () => {
    const graph = join(dir, manifest.graphs.base.path);
    const { mtimeMs } = await stat(graph);
    const [inputs = ""] = (await readFile(join(dir, "inputs.sha256"), "utf8")).split("\n");
    await seal(dir, { ...manifest, calibration: null }, inputs);
    await ensureBundle("tiny");
    expect(JSON.parse(await readFile(join(dir, "manifest.json"), "utf8"))).toEqual(manifest);
    expect(manifest.calibration?.pack).toBe(manifest.defaults.rescorer.model);
    expect((await stat(graph)).mtimeMs).toBe(mtimeMs);
  });

  it("compiles to the same bytes when forced to", async () => {
    const before = await madeAt();
    await ensureBundle("tiny", { force: true });
    expect(await madeAt()).toBeGreaterThan(before);
    expect(JSON.parse(await readFile(join(dir, "manifest.json"), "utf8"))).toEqual(manifest);
  });

  it("puts another precision beside it", async () => {
    const other = await ensureBundle("tiny", { precision: "fp32" });
    expect(other).not.toBe(dir);
    const { precision, graphs, ...rest } = JSON.parse(
      await readFile(join(other, "manifest.json"), "utf8"),
    ) as BundleManifest;
    expect([manifest.precision, manifest.graphs.base.path]).toEqual(["int8", "base.safetensors"]);
    expect([precision, graphs.base.path]).toEqual(["fp32", "base.onnx"]);
    expect(graphs.base.data?.path).toBe("base.onnx.data");
    expect(manifest.graphs.base.bytes).toBeLessThan(graphs.base.data!.bytes / 2);
    expect(rest).toEqual({ ...manifest, precision: undefined, graphs: undefined });
  });

  it("writes down what is needed of the model beside its weights", async () => {
    const { architecture, costs, taps } = manifest;
    const llama = await readLlama(await GgufFile.open((await weightsAtHand("tiny"))!));
    const { contextTokens, ropeFrequencies } = llama.config;
    const named = Object.keys(architecture) as Exclude<keyof typeof architecture, "traits">[];
    const sizes = Object.fromEntries(named.map((name) => [name, llama.config[name]]));
    expect(architecture).toEqual({ ...sizes, contextTokens: 1024, ropeFrequencies: [...ropeFrequencies] });
    expect(contextTokens).toBeGreaterThanOrEqual(1024);
    const source = await readSource("tiny");
    expect(costs).toEqual(source.costs);
    expect(taps).toEqual(headsInfo(await readSafetensors(join(MODELS_DIR, "tiny", source.heads ?? ""))).taps);
  });

  it.each([
    ["in the midst of the weights", 0.1],
    ["between two files", 0.8],
  ])("keeps the old bundle and no temporary files when stopped %s", async (_, share) => {
    const before = (await readdir(join(cache, "bundles"))).sort();
    const stopping = new AbortController();
    const seen: number[] = [];
    const stopped = ensureBundle("tiny", {
      force: true,
      signal: stopping.signal,
      onProgress: (_stage, done, total) => {
        seen.push(done / total);
        if (done >= share * total) stopping.abort();
      },
    });
    await expect(stopped).rejects.toThrow(/abort/i);
    expect(seen.at(-1)).toBeLessThan(share + 0.1);
    expect((await readdir(join(cache, "bundles"))).sort()).toEqual(before);
    expect(await sha256OfFile(join(dir, manifest.graphs.base.path))).toBe(manifest.graphs.base.sha256);
  });

  it("names what it does not know", async () => {
    await expect(ensureBundle("nothing")).rejects.toThrow(/no bundle called "nothing"/);
    await expect(ensureBundle("Tiny!")).rejects.toThrow(/not a bundle name/);
    await expect(ensureBundle("../tiny")).rejects.toThrow(/no package/);
    await expect(ensureBundle("tiny", { precision: "int3" as "int8" })).rejects.toThrow(/precision is one of/);
  });
});

describe("the committed sources", () => {
  it.each(["tiny", "smollm2-135m"])("%s has a calibration of this version, with its default pack", async (name) => {
    const { pack, weights } = await readCalibration(calibrationPath(name));
    expect(pack).toBe((await readSource(name)).defaults.rescorer.model);
    const hasPairs = existsSync(join(MODELS_DIR, name, "pair.safetensors"));
    const evidence = EVIDENCE.filter(({ pair }) => hasPairs || !pair);
    expect(Object.keys(weights).sort()).toEqual(evidence.map(evidenceOf).sort());
  });

  it.each(["tiny", "smollm2-135m"])("%s has defaults within what its graphs yield", async (name) => {
    const { defaults, topK } = await readSource(name);
    expect(defaults.topK).toBeLessThanOrEqual(topK);
    expect(defaults.heads).toBeGreaterThan(0);
  });
});
