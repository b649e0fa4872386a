import { describe, expect, test } from "vitest";
import { prepare, type Tenant } from "../../edge/completion/prepare.ts";
import { parseCompletion } from "../../edge/openai/params.ts";
import { Bundles } from "../../edge/text/bundles.ts";
import { createLattice } from "../../shared/lattice.ts";
import type { BundleManifest, PackEntry } from "../../shared/manifest.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { Random } from "../helpers/random.ts";
import { toyModel } from "../ngram/helpers.ts";
import { randomCalibration, randomLattice } from "../rescore/helpers.ts";
import { toyPairs, toyQuery, withQuery } from "../rescore/toy-pairs.ts";
import { manifestOf, sha256, TOKENIZER, TOKENIZER_HASH, tokenizer } from "./fixture.ts";

function packOf(seed: number, hash = TOKENIZER_HASH): Uint8Array<ArrayBuffer> {
  const { table } = toyModel({ seed, order: 3, vocabSize: tokenizer.size });
  return new Uint8Array(writePack(table, hash));
}

function entryOf(name: string, bytes: Uint8Array): PackEntry {
  return { name, order: 3, ngrams: 1, path: `packs/${name}.fdlm`, bytes: bytes.length, sha256: sha256(bytes) };
}

/** A bundle with these packs, and how often each file was read. */
function deploy(
  packs: Readonly<Record<string, Uint8Array<ArrayBuffer>>>,
  change: Partial<BundleManifest> = {},
  others: Readonly<Record<string, Uint8Array<ArrayBuffer>>> = {},
): {
  bundles: Bundles;
  reads: Map<string, number>;
  manifest: BundleManifest;
} {
  const entries = Object.entries(packs).map(([name, bytes]) => entryOf(name, bytes));
  const calibration = randomCalibration(() => 0.5);
  const manifest = manifestOf("toy", { packs: entries, calibration, ...change });
  const files = new Map([
    ["toy/manifest.json", new TextEncoder().encode(JSON.stringify(manifest))],
    ["toy/tokenizer.json", TOKENIZER],
    ...Object.entries(others).map(([name, bytes]) => [`toy/${name}`, bytes] as const),
    ...Object.entries(packs).map(([name, bytes]) => [`toy/packs/${name}.fdlm`, bytes] as const),
  ]);
  const reads = new Map<string, number>();
  const bundles = new Bundles(["toy"], async (path) => {
    reads.set(path, (reads.get(path) ?? 0) + 1);
    return files.get(path) ?? null;
  });
  return { bundles, reads, manifest };
}

const request = (speculation: object = {}) => parseCompletion({ prompt: "hello", speculation });

const ANN: Tenant = { name: "ann", memory: null, limits: null, packs: null, logError: () => undefined };

describe("a bundle's packs", () => {
  test("are loaded once, with the tokenizer and the manifest", async () => {
    const { bundles, reads } = deploy({ general: packOf(1) });
    for (let i = 0; i < 3; i++) await prepare(request(), { bundles, tenant: ANN });
    expect([...reads.values()]).toEqual([1, 1, 1]);
  });

  test("are not loaded where they would not be looked at", async () => {
    const { bundles, reads } = deploy({ general: packOf(1) });
    await prepare(request({ rescorer: { type: "none" } }), { bundles, tenant: ANN });
    await prepare(request({ rescorer: { alpha: 0 } }), { bundles, tenant: ANN });
    expect([...reads.keys()]).not.toContain("toy/packs/general.fdlm");
  });

  test("draft with the bundle's defaults", async () => {
    const { bundles } = deploy({ general: packOf(1) });
    const decoding = (await prepare(request(), { bundles, tenant: ANN })).choices[0]!.request;
    expect(decoding).toMatchObject({ maxNodes: 4, autoNodes: true, spec: { heads: 4, topK: 4, tenant: "ann" } });
    decoding.rescorer.commit(decoding.spec.prompt);
    const lattice = createLattice(1, 2, Uint32Array.of(7, 8), Float32Array.of(-1, -1));
    expect(decoding.rescorer.draft(lattice, 4).tokens).toHaveLength(1);
  });

  test("are refused where they were trained with another tokenizer or differ from the manifest", async () => {
    const foreign = deploy({ general: packOf(1, "00".repeat(32)) });
    await expect(prepare(request(), { bundles: foreign.bundles, tenant: ANN })).rejects.toMatchObject({
      code: "engine_unavailable",
    });
    const damaged = packOf(1);
    const { bundles } = deploy({ general: damaged });
    damaged[damaged.length - 1]! ^= 1;
    await expect(prepare(request(), { bundles, tenant: ANN })).rejects.toMatchObject({ code: "engine_unavailable" });
  });

  test("beyond the second push the oldest out of memory", async () => {
    const { bundles, reads, manifest } = deploy({ a: packOf(1), b: packOf(2), c: packOf(3) });
    for (const entry of [...manifest.packs, manifest.packs[0]!]) await bundles.pack(manifest, entry);
    expect(reads.get("toy/packs/a.fdlm")).toBe(2);
    expect(reads.get("toy/packs/c.fdlm")).toBe(1);
  });
});

describe("speculation given explicitly", () => {
  test.each([
    [{ heads: 3 }, { maxNodes: 3, autoNodes: false }],
    [
      { heads: 3, rescorer: { p_best: 5 } },
      { maxNodes: 15, autoNodes: false },
    ],
    [{ max_nodes: 2 }, { maxNodes: 2, autoNodes: false }],
    [
      { heads: 3, max_nodes: 9 },
      { maxNodes: 9, autoNodes: false },
    ],
    [{ rescorer: { p_best: 5 } }, { maxNodes: 20, autoNodes: true }],
    [
      { heads: 3, rescorer: { type: "none", p_best: 5 } },
      { maxNodes: 3, autoNodes: false },
    ],
    [
      { enabled: false, heads: 3 },
      { maxNodes: 0, autoNodes: false },
    ],
    // A copy of the prompt may go on beyond the heads; how far is chosen each step, unless the request says.
    [{ rescorer: { prompt: true } }, { maxNodes: 63, autoNodes: true }],
    [
      { heads: 3, rescorer: { prompt: true } },
      { maxNodes: 3, autoNodes: false },
    ],
    [
      { heads: 3, rescorer: { type: "tree" } },
      { maxNodes: 63, autoNodes: true, spec: { heads: 3 } },
    ],
    [
      { max_nodes: 9, rescorer: { type: "tree" } },
      { maxNodes: 9, autoNodes: false },
    ],
  ])("%j is respected exactly", async (speculation, expected) => {
    const { bundles } = deploy({ general: packOf(1) });
    const decoding = (await prepare(request(speculation), { bundles, tenant: ANN })).choices[0]!.request;
    expect(decoding).toMatchObject(expected);
    // Where the number of nodes is not chosen each step, the engine does not choose among them either.
    expect(decoding.spec.fixed).toBe(!expected.autoNodes);
  });
});

test("a calibration without a pack's part takes no pack", async () => {
  const { weights, ...rest } = randomCalibration(() => 0.5);
  const kept = Object.fromEntries(Object.entries(weights).filter(([evidence]) => !evidence.includes("lm")));
  const { bundles } = deploy({ general: packOf(1) }, { calibration: { ...rest, weights: kept } });
  const tree = (alpha: number) => request({ rescorer: { type: "tree", alpha } });
  await prepare(tree(0), { bundles, tenant: ANN });
  await expect(prepare(tree(0.3), { bundles, tenant: ANN })).rejects.toMatchObject({
    code: "invalid_request",
    param: "speculation.rescorer.alpha",
  });
});

describe("the neural rescorer", () => {
  const file = { path: "neural.onnx", bytes: 1, sha256: "00" };
  const graphs = { ...manifestOf("toy").graphs, neural: file };
  const planned = async (speculation: object, change: Partial<BundleManifest> = { graphs }) => {
    const { bundles, reads } = deploy({ general: packOf(1) }, change);
    const decoding = (await prepare(request(speculation), { bundles, tenant: ANN })).choices[0]!.request;
    return { neural: decoding.spec.neural, maxNodes: decoding.maxNodes, reads };
  };

  test("is asked of the engine with the weight given, or the bundle's; no pack is loaded for it", async () => {
    const usual = await planned({ rescorer: { type: "neural" } });
    expect(usual).toMatchObject({ neural: 0.6, maxNodes: 4 });
    expect([...usual.reads.keys()]).not.toContain("toy/packs/general.fdlm");
    expect(await planned({ heads: 3, rescorer: { type: "neural", alpha: 0.2, p_best: 9 } })).toMatchObject({
      neural: 0.2,
      maxNodes: 3,
    });
    expect(await planned({ rescorer: { type: "neural", alpha: 0 } })).toMatchObject({ neural: 0 });
  });

  test("is not asked for by another type, or where speculation is off", async () => {
    for (const speculation of [
      {},
      { rescorer: { type: "none", alpha: 0.3 } },
      { rescorer: { type: "ngram" } },
      { enabled: false, rescorer: { type: "neural" } },
    ]) {
      expect(await planned(speculation)).toMatchObject({ neural: null });
    }
  });

  test("may be a bundle's default", async () => {
    const { defaults } = manifestOf("toy");
    const change = { defaults: { ...defaults, rescorer: { ...defaults.rescorer, type: "neural" as const } } };
    expect(await planned({}, { ...change, graphs })).toMatchObject({ neural: 0.6 });
    expect(await planned({}, change)).toMatchObject({ neural: null });
  });
});

describe("tables of pairs", () => {
  const random = new Random(1);
  const { bytes } = toyPairs(random, tokenizer.size);
  const entry = { path: "pair.safetensors", bytes: bytes.length, sha256: sha256(bytes) };
  const calibration = randomCalibration(() => random.unit());
  const { weights } = calibration;
  const unpaired = Object.fromEntries(Object.entries(weights).filter(([evidence]) => !evidence.includes("pair")));
  const able = { graphs: { ...manifestOf("toy").graphs, pair: entry }, calibration };
  const untaught = { ...able, calibration: { ...calibration, weights: unpaired } };
  const deployed = (change: Partial<BundleManifest> = able, file = bytes) =>
    deploy({ general: packOf(1) }, change, { "pair.safetensors": file });
  const planned = async (rescorer: object, { bundles }: Pick<ReturnType<typeof deploy>, "bundles"> = deployed()) =>
    (await prepare(request({ rescorer }), { bundles, tenant: ANN })).choices[0]!.request;

  test.each([
    [{ type: "pair" }, able, true],
    [{ type: "pair", alpha: 0 }, able, false],
    [{ type: "tree" }, able, true],
    [{ type: "tree", pair: true, prompt: true, alpha: 0 }, able, true],
    [{ type: "path" }, able, true],
    [{ type: "tree", pair: false }, able, false],
    [{ type: "none", pair: true }, able, false],
    [{ type: "ngram" }, able, false],
    // Nothing was asked for, so nothing is refused.
    [{ type: "tree" }, untaught, false],
    [{ type: "path" }, { calibration }, false],
    [{ type: "tree" }, { ...able, defaults: setDefault(false) }, false],
    [{ type: "tree", pair: true }, { ...able, defaults: setDefault(false) }, true],
  ])("of a request with %j", async (rescorer, change, wanted) => {
    const deployment = deployed(change);
    for (let i = 0; i < 2; i++) expect((await planned(rescorer, deployment)).spec.pair).toBe(wanted);
    expect(deployment.reads.get("toy/pair.safetensors")).toBe(wanted ? 1 : undefined);
  });

  test.each([
    [{ type: "pair" }, { calibration }, "speculation.rescorer.type", "has no table of pairs, which 'pair' needs"],
    [{ type: "tree", pair: true }, { calibration }, "speculation.rescorer.pair", "has no table of pairs"],
    [{ type: "path", pair: true }, untaught, "speculation.rescorer.pair", "has no calibration for heads+lm+pair"],
  ])("are refused, where the bundle has none, to %j", async (rescorer, change, param, message) => {
    await expect(planned(rescorer, deployed(change))).rejects.toMatchObject({
      code: "invalid_request",
      param,
      message: expect.stringContaining(message),
    });
  });

  test("that are damaged are refused", async () => {
    const damaged = deployed(able, bytes.with(bytes.length - 1, 1 ^ bytes.at(-1)!));
    await expect(planned({ type: "pair" }, damaged)).rejects.toMatchObject({ code: "engine_unavailable" });
  });

  test("choose what is drafted", async () => {
    const { rescorer } = await planned({ type: "pair" });
    const bare = randomLattice(() => random.unit(), { heads: 4, k: 4, vocabSize: tokenizer.size, step: 0.5 });
    const drafts = Array.from({ length: 20 }, () => rescorer.draft(withQuery(bare, toyQuery(random)), 4).tokens.join());
    expect(new Set(drafts).size).toBeGreaterThan(1);
  });
});

function setDefault(pair: boolean): BundleManifest["defaults"] {
  const { defaults } = manifestOf("toy");
  return { ...defaults, rescorer: { ...defaults.rescorer, pair } };
}
