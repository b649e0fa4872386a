import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import ort from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { complete, NO_PARTS } from "../../bench/eval/complete.ts";
import { parseMethod } from "../../bench/eval/methods.ts";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { loadBundle } from "../../gpu-worker/load.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { buildMedusaHeads } from "../../models/compile/medusa.ts";
import { GgufFile } from "../../models/gguf.ts";
import { readLlama } from "../../models/llama.ts";
import { readSafetensors } from "../../models/safetensors.ts";
import type { BundleManifest } from "../../shared/manifest.ts";

const HEADS = join(import.meta.dirname, "medusa", "heads.safetensors");
const MODEL = join(import.meta.dirname, "small", "llama.gguf");
const WIDTH = 32;

/** Written by train/export_medusa_golden.py: PyTorch's account of Medusa's modules over the same weights. */
interface Expected {
  /** [S, D] */
  readonly hidden: number[][];
  /** [S, heads, K] */
  readonly tokens: number[][][];
  readonly log_probs: number[][][];
}

const keptCache = process.env.FOREDRAFT_CACHE;
const quiet = { onNotice: () => undefined };
let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-medusa-given-"));
  process.env.FOREDRAFT_CACHE = join(dir, "cache");
});
afterAll(async () => {
  if (keptCache === undefined) delete process.env.FOREDRAFT_CACHE;
  else process.env.FOREDRAFT_CACHE = keptCache;
  await rm(dir, { recursive: true, force: true });
});

it("Medusa's heads draft what PyTorch does with them", async () => {
  const golden = join(import.meta.dirname, "medusa", "golden.json");
  const { hidden, tokens, log_probs } = JSON.parse(await readFile(golden, "utf8")) as Expected;
  const llama = await readLlama(await GgufFile.open(MODEL));
  const graph = await buildMedusaHeads(llama, await readSafetensors(HEADS), tokens[0]![0]!.length, "fp32");
  const session = await ort.InferenceSession.create(graph);
  const out = await session.run({
    hidden: new ort.Tensor("float32", Float32Array.from(hidden.flat()), [hidden.length, WIDTH]),
    bonus: new ort.Tensor("int32", new Int32Array(hidden.length), [hidden.length]),
  });
  expect([...(out.tokens!.data as Int32Array)]).toEqual(tokens.flat(2));
  for (const [i, value] of log_probs.flat(2).entries()) {
    expect(out.log_probs!.data[i]).toBeCloseTo(value, 4);
  }
  await session.release();
});

it("a GGUF file is served with them, and drafts change nothing", async () => {
  const bundle = await ensureBundle(MODEL, { ...quiet, heads: HEADS });
  expect(basename(bundle)).toBe("llama-medusa");
  const manifest = JSON.parse(await readFile(join(bundle, "manifest.json"), "utf8")) as BundleManifest;
  expect(manifest).toMatchObject({ precision: "int8", latticeHeads: 3, taps: [], calibration: null });
  expect(manifest.graphs.base.path).toBe("base.safetensors");
  expect(manifest.defaults).toMatchObject({ heads: 3, rescorer: { type: "none" } });
  const engine = await createInProcessEngine(bundle, { kvLimitBytes: 16 << 20, threads: 1 });
  const prompt = Uint32Array.from({ length: 20 }, (_, i) => 40 + 7 * i);
  const limits = { maxTokens: 24, eosTokens: [] };
  const task = { engine, model: manifest.name, prompt, limits, autoNodes: false };
  const options = { alpha: null, pack: null, heads: null, topK: null };
  const run = (method: string) => complete(task, parseMethod(method, manifest, options), NO_PARTS, []);
  const plain = await run("ar");
  for (const method of ["none", "0gram-16best"]) {
    const drafted = await run(method);
    expect(drafted.output, method).toEqual(plain.output);
    expect(drafted.counters.draftedTokens, method).toBeGreaterThan(0);
  }
  await engine.close();
  // Without them it is another bundle, as before.
  expect(basename(await ensureBundle(MODEL, quiet))).toBe("llama");
});

it("beside a model in integers they draft nearly what they draft beside its graph", async () => {
  const load = async (precision: "int8" | "fp32") => {
    const bundle = await ensureBundle(MODEL, { ...quiet, heads: HEADS, precision });
    return (await loadBundle(bundle, { threads: 1, kvLimitBytes: 4 << 20, cacheDir: keptCache ?? ".cache" })).model;
  };
  const [graph, integers] = [await load("fp32"), await load("int8")];
  const tokens = Uint32Array.from({ length: 40 }, (_, i) => 40 + 5 * i);
  const rows = [39, 3, 17, 28];
  const [expected, actual] = await Promise.all(
    [graph, integers].map(async (model) => {
      const pages = Int32Array.of(2, 0, 1);
      await model.forward([{ length: 0, pages, tokens, parents: null, wanted: "all", logits: false }]);
      return await model.heads(rows.map((row) => ({ row, bonus: 50 })));
    }),
  );
  let alike = 0;
  for (const [i, { lattice }] of expected!.entries()) {
    const drafted = actual![i]!.lattice;
    for (let at = 0; at < 3 * lattice.k; at += lattice.k) {
      alike += Number(lattice.tokens[at] === drafted.tokens[at]);
      // A model of 32 columns, whose eight bits round a good deal.
      expect(Math.abs(lattice.logProbs[at]! - drafted.logProbs[at]!)).toBeLessThan(0.3);
    }
  }
  expect(alike).toBeGreaterThanOrEqual(10);
  await Promise.all([graph.release(), integers.release()]);
});

describe("heads that do not go with a GGUF file", () => {
  /** The file with a part of its header replaced. */
  async function altered(from: string, to: string): Promise<string> {
    const bytes = await readFile(HEADS);
    const length = Number(bytes.readBigUInt64LE(0));
    const text = bytes.toString("utf8", 8, 8 + length);
    expect(text).toContain(from);
    const header = Buffer.from(text.replaceAll(from, to));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(header.length));
    const path = join(dir, "altered.safetensors");
    await writeFile(path, Buffer.concat([size, header, bytes.subarray(8 + length)]));
    return path;
  }

  it.each<[string, () => Promise<string>, RegExp]>([
    ["are missing", async () => join(dir, "nothing.safetensors"), /--heads: there is no file .*nothing/],
    ["are a pickle", async () => join(dir, "medusa_lm_head.pt"), /is a pickle.*models\/README\.md/],
    ["are none", async () => altered("0.0.linear.weight", "other"), /holds no heads of Medusa's/],
    ["lack a tensor", async () => altered("1.0.linear.bias", "1.0.linear.buas"), /no tensor named 1\.0\.linear\.bias/],
    ["are of another width", async () => altered("[288,32]", "[144,64]"), /0\.1\.weight is \[144, 64\]/],
  ])("are refused where they %s", async (_, make, words) => {
    let last = 0;
    const onProgress = (_stage: string, done: number) => (last = done);
    await expect(ensureBundle(MODEL, { ...quiet, onProgress, heads: await make() })).rejects.toThrow(words);
    expect(last, "before anything is compiled").toBe(0);
  });

  it("are refused beside a bundle's own", async () => {
    await expect(ensureBundle("tiny", { ...quiet, heads: HEADS })).rejects.toThrow(/tiny has heads of its own/);
  });
});
