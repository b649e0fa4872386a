import { createHash } from "node:crypto";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { liveCases, replayCases } from "../../bench/eval/cases.ts";
import { evaluate, type RowResult } from "../../bench/eval/evaluate.ts";
import { parseMethod } from "../../bench/eval/methods.ts";
import { loadBundle } from "../../bench/eval/model.ts";
import type { EvalRow } from "../../bench/eval/rows.ts";
import { type MethodSummary, summarise } from "../../bench/eval/summary.ts";
import { decodeTrace, encodeTrace, type Generation, traceHeader } from "../../bench/eval/trace.ts";
import { ensureBundle } from "../../models/bundle.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { CALIBRATION_VERSION, EVIDENCE, evidenceOf } from "../../shared/rescore/calibration.ts";
import { WEIGHTS } from "../../shared/rescore/features.ts";
import { Random } from "../helpers/random.ts";
import { toyPairs } from "../rescore/toy-pairs.ts";
import { TOY_MANIFEST, TOY_RANK, TOY_TEXT, toyEngine } from "./toy-engine.ts";

const MAX_TOKENS = 30;
const random = new Random(4);
const { bytes, tables } = toyPairs(random, TOY_MANIFEST.architecture.vocabSize, TOY_RANK);
const parts = { packs: new Map(), pair: tables };
const weights = Array.from({ length: WEIGHTS }, () => random.int(-8, 8) / 8);
const manifest: BundleManifest = {
  ...TOY_MANIFEST,
  graphs: { ...TOY_MANIFEST.graphs, pair: { path: "pair.safetensors", bytes: 0, sha256: "pp" } },
  calibration: {
    version: CALIBRATION_VERSION,
    command: "",
    pack: null,
    weights: Object.fromEntries(EVIDENCE.map((kind) => [evidenceOf(kind), weights])),
  },
};
const model = { engine: toyEngine(), manifest, text: TOY_TEXT, neural: null };
const METHODS = ["none", "pair", "pair-4best", "path", "path-no-pair", "tree-8", "tree-8-no-pair"];
const methods = METHODS.map((name) => {
  const alpha = name.startsWith("pair") ? 1 : 0;
  return parseMethod(name, manifest, { alpha, pack: null, heads: null, topK: null });
});
const rows: EvalRow[] = Array.from({ length: 8 }, (_, i) => ({
  id: `row/${i}`,
  category: "text",
  split: null,
  references: [],
  input: { kind: "prompt", prompt: `once ${i} upon ${i * i}` },
}));

function cases(generations: Generation[] | null) {
  return liveCases(rows, model, {
    maxTokens: MAX_TOKENS,
    autoNodes: false,
    onGeneration: generations === null ? null : (generation) => generations.push(generation),
    onSkipped: () => undefined,
    onRow: () => undefined,
  });
}

function untimed(results: readonly RowResult[]): RowResult[] {
  return results.map((row) => ({
    ...row,
    methods: new Map([...row.methods].map(([name, result]) => [name, { ...result, decodeMs: 0 }])),
  }));
}

function draftCounts({ steps, drafted_by_position, accepted_by_position, repetition }: MethodSummary) {
  return { steps, drafted_by_position, accepted_by_position, repetition: repetition.after };
}

describe("methods with pairs", () => {
  test("change drafts, not texts, and replay from a stored trace as they ran", async () => {
    const live = await evaluate(cases(null), { methods, parts });
    const { overall } = summarise(live, METHODS, 1);
    for (const name of METHODS) expect(overall[name]?.identical_to_plain, name).toBe(rows.length);
    const drafts = (name: string) => draftCounts(overall[name]!);
    expect(drafts("pair")).not.toEqual(drafts("none"));
    expect(drafts("path")).not.toEqual(drafts("path-no-pair"));
    expect(drafts("tree-8")).not.toEqual(drafts("tree-8-no-pair"));

    const generations: Generation[] = [];
    await evaluate(cases(generations), { methods: [], parts });
    const stored = decodeTrace(encodeTrace({ header: traceHeader(manifest, MAX_TOKENS, ""), generations }));
    const replayed = replayCases(stored.generations, { manifest, neural: null }, MAX_TOKENS);
    expect(await evaluate(replayed, { methods, parts })).toEqual(untimed(live));
  });

  test("draft as without them where lattices come without a query", async () => {
    const generations: Generation[] = [];
    await evaluate(cases(generations), { methods: [], parts });
    const blind = generations.map((generation) => ({
      ...generation,
      lattices: generation.lattices.map((lattice) => ({ ...lattice, query: null })),
    }));
    const replayed = replayCases(blind, { manifest, neural: null }, MAX_TOKENS);
    const { overall } = summarise(await evaluate(replayed, { methods, parts }), METHODS, 1);
    const drafts = (name: string) => draftCounts(overall[name]!);
    expect(drafts("pair")).toEqual(drafts("none"));
    expect(drafts("path")).toEqual(drafts("path-no-pair"));
    expect(drafts("tree-8")).toEqual(drafts("tree-8-no-pair"));
  });
});

describe("a bundle's tables of pairs", () => {
  let dir = "";
  const sha256 = (data: Uint8Array) => createHash("sha256").update(data).digest("hex");

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "foredraft-pair-"));
    await cp(await ensureBundle("tiny"), dir, { recursive: true });
  });

  afterAll(() => rm(dir, { recursive: true, force: true }));

  async function bundle(pair: Uint8Array | null, stored = pair) {
    const path = join(dir, "manifest.json");
    const found = JSON.parse(await readFile(path, "utf8")) as BundleManifest;
    const entry = pair && { path: "pair.safetensors", bytes: pair.length, sha256: sha256(pair) };
    await writeFile(path, JSON.stringify({ ...found, graphs: { ...found.graphs, pair: entry } }));
    if (stored !== null) await writeFile(join(dir, "pair.safetensors"), stored);
    return await loadBundle(dir, found.name);
  }

  test("are read once, where a method looks at them", async () => {
    const paired = await bundle(bytes);
    const methodOf = (name: string) =>
      parseMethod(name, paired.manifest, { alpha: null, pack: null, heads: null, topK: null });
    expect((await paired.parts([methodOf("none"), methodOf("tree-no-pair")])).pair).toBeNull();
    const { pair } = await paired.parts([methodOf("none"), methodOf("pair")]);
    expect(pair).toEqual(tables);
    expect(await paired.pair()).toBe(pair);
  });

  test("are none in a bundle without, and refused where the file is another", async () => {
    expect(await (await bundle(null)).pair()).toBeNull();
    await expect((await bundle(bytes, bytes.slice(1))).pair()).rejects.toThrow("pair.safetensors");
  });
});
