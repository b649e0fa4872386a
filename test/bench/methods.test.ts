import { describe, expect, test } from "vitest";
import { isRefined, parseMethod, rescorerOf, usesPair } from "../../bench/eval/methods.ts";
import { oracleRescorer, promptLookup } from "../../bench/eval/outside.ts";
import { availableMethods } from "../../bench/suite/common.ts";
import { LIVE_METHODS, SUITE_METHODS } from "../../bench/suite/sets.ts";
import { planDraft } from "../../edge/completion/draft-plan.ts";
import { parseChat } from "../../edge/openai/params.ts";
import { createLattice } from "../../shared/lattice.ts";
import type { BundleManifest, PackEntry } from "../../shared/manifest.ts";
import { CALIBRATION_VERSION, EVIDENCE, evidenceOf } from "../../shared/rescore/calibration.ts";
import { TOY_MANIFEST } from "./toy-engine.ts";

const pack = (name: string, order: number): PackEntry => ({ name, order, ngrams: 1, path: "", bytes: 0, sha256: name });
const manifest: BundleManifest = {
  ...TOY_MANIFEST,
  packs: [pack("big", 4), pack("self-3", 3), pack("general-3", 3)],
  defaults: {
    ...TOY_MANIFEST.defaults,
    rescorer: { type: "ngram", model: "general-3", order: 3, alpha: 0.4, pBest: 1 },
  },
};
/** Has tables of pairs, and a calibration for every combination of evidence. */
const paired: BundleManifest = {
  ...manifest,
  graphs: { ...manifest.graphs, pair: { path: "", bytes: 0, sha256: "" } },
  calibration: {
    version: CALIBRATION_VERSION,
    command: "",
    pack: null,
    weights: Object.fromEntries(EVIDENCE.map((kind) => [evidenceOf(kind), []])),
  },
};
const OPTIONS = { alpha: null, pack: null, heads: null, topK: null };

describe("method names", () => {
  test("give order, paths and the bundle's alpha", () => {
    expect(parseMethod("ngram-3", manifest, OPTIONS).draft).toMatchObject({ order: 3, pBest: 1, alpha: 0.4 });
    expect(parseMethod("ngram-3-16best", manifest, { ...OPTIONS, alpha: 0.1 }).draft).toMatchObject({
      pBest: 16,
      alpha: 0.1,
    });
    expect(parseMethod("0gram-16best", manifest, OPTIONS).draft).toMatchObject({ pBest: 16, alpha: 0, pack: null });
    expect(parseMethod("oracle-2", manifest, OPTIONS).draft).toEqual({ type: "oracle", topK: 2 });
    expect(parseMethod("ar", manifest, OPTIONS)).toMatchObject({ heads: 0 });
  });

  test("give the nodes of a tree, and what it may look at", () => {
    const calibrated = {
      ...manifest,
      calibration: { version: CALIBRATION_VERSION, command: "", pack: null, weights: { "heads+lm": [] } },
    };
    expect(parseMethod("tree", calibrated, OPTIONS)).toMatchObject({
      maxNodes: 63,
      draft: { type: "tree", order: 3, alpha: 0.4, prompt: true, pack: { name: "general-3" } },
    });
    expect(parseMethod("tree-32-heads", calibrated, OPTIONS)).toMatchObject({
      maxNodes: 32,
      draft: { alpha: 0, prompt: false, pack: null },
    });
    expect(parseMethod("tree-32", calibrated, { ...OPTIONS, maxNodes: 16 }).maxNodes).toBe(16);
    const paths = { type: "path", pBest: 1, prompt: true };
    expect(parseMethod("path", calibrated, OPTIONS)).toMatchObject({ maxNodes: 63, draft: paths });
    expect(parseMethod("path-16-2best-lm", calibrated, OPTIONS)).toMatchObject({
      maxNodes: 16,
      draft: { ...paths, pBest: 2, prompt: false, alpha: 0.4 },
    });
    expect(() => parseMethod("tree-lm-4best", calibrated, OPTIONS)).toThrow("unknown method");
    expect(() => parseMethod("tree-64", calibrated, OPTIONS)).toThrow("nodes");
    expect(() => parseMethod("tree", manifest, OPTIONS)).toThrow("no calibration");
  });

  test("let pairs take part or leave them out, whatever is usual", () => {
    const pairOf = (name: string, bundle = paired) => {
      const { draft } = parseMethod(name, bundle, OPTIONS);
      return "pair" in draft ? draft.pair : undefined;
    };
    const usual = {
      ...paired,
      defaults: { ...paired.defaults, rescorer: { ...paired.defaults.rescorer, pair: true } },
    };
    expect(["path", "path-lm", "tree-16", "tree"].map((name) => pairOf(name, usual))).toEqual([true, true, true, true]);
    for (const name of ["path-no-pair", "path-lm-no-pair", "tree-16-no-pair", "tree-63-no-pair@self-3"]) {
      expect(pairOf(name, usual), name).toBe(false);
    }
    expect(pairOf("tree-16-heads", usual)).toBe(false);
    for (const name of ["path-pair", "tree-16-heads-pair", "path-lm-pair"]) expect(pairOf(name), name).toBe(true);
    expect(parseMethod("tree-16-no-pair", paired, OPTIONS)).toMatchObject({
      maxNodes: 16,
      draft: { prompt: true, alpha: 0.4, pack: { name: "general-3" } },
    });
    expect(parseMethod("pair", paired, OPTIONS).draft).toMatchObject({ type: "pair", alpha: 0.2, pBest: 1 });
    expect(parseMethod("pair-16best", paired, { ...OPTIONS, alpha: 0.5 }).draft).toMatchObject({
      alpha: 0.5,
      pBest: 16,
    });
    expect(() => parseMethod("pair", manifest, OPTIONS)).toThrow("pair");
    for (const name of ["ngram-3-pair", "pair-pair", "tree-no", "tree-no-lm", "tree--pair"]) {
      expect(() => parseMethod(name, paired, OPTIONS), name).toThrow(`unknown method "${name}"`);
    }
  });

  test("tell whether the tables of pairs are needed", () => {
    const needed = (name: string, alpha: number | null = null) =>
      usesPair(parseMethod(name, paired, { ...OPTIONS, alpha }).draft);
    expect(["pair", "path-pair", "tree-16-pair"].map((name) => needed(name))).toEqual([true, true, true]);
    expect(["ar", "none", "path-no-pair", "oracle-2", "prompt-lookup"].map((name) => needed(name))).not.toContain(true);
    expect(needed("pair", 0)).toBe(false);
  });

  test("are left out of the usual ones where the bundle has no pairs", () => {
    const names = ["none", "pair", "path", "path-no-pair", "tree-16-no-pair@self-3", "tree-63-no-pair"];
    expect(availableMethods(names, paired, null)).toEqual(names);
    const without = { ...paired, graphs: { ...paired.graphs, pair: null } };
    expect(availableMethods(names, without, null)).toEqual(["none", "path"]);
    for (const name of [...SUITE_METHODS, ...LIVE_METHODS]) expect(name).not.toMatch(/(?<!-no)-pair$/);
    const both = ["path", "path-lm", "tree-16"].flatMap((name) => [name, `${name}-no-pair`]);
    expect(SUITE_METHODS).toEqual(expect.arrayContaining(["pair", ...both, "tree", "tree-63-no-pair"]));
    expect(LIVE_METHODS).toEqual(expect.arrayContaining(["pair", "path", "tree"]));
  });

  test("let n-grams of the prompt take part, and bound every method's nodes", () => {
    expect(parseMethod("ngram-3-16best-prompt", manifest, OPTIONS).draft).toMatchObject({ pBest: 16, prompt: true });
    expect(parseMethod("ngram-3-prompt", manifest, OPTIONS)).toMatchObject({ maxNodes: 63, draft: { pBest: 1 } });
    expect(parseMethod("ngram-3-16best", manifest, { ...OPTIONS, maxNodes: 16 })).toMatchObject({
      maxNodes: 16,
      draft: { prompt: false },
    });
    expect(parseMethod("ar", manifest, OPTIONS).maxNodes).toBe(0);
  });

  test("give the local rescorer's alpha, where the bundle has one", () => {
    const file = { path: "", bytes: 0, sha256: "" };
    const able: BundleManifest = { ...manifest, graphs: { ...manifest.graphs, neural: file } };
    expect(parseMethod("neural", able, OPTIONS).draft).toMatchObject({ type: "neural", alpha: 0.5 });
    expect(parseMethod("neural", able, { ...OPTIONS, alpha: 0 }).draft).toMatchObject({ type: "neural", alpha: 0 });
    expect(() => parseMethod("neural", manifest, OPTIONS)).toThrow("no neural rescorer");
  });

  test("take the pack named, else the bundle's default, which has to hold their order", () => {
    const packOf = (name: string, wanted: string | null = null) => {
      const { draft } = parseMethod(name, manifest, { ...OPTIONS, pack: wanted });
      return draft.type === "ngram" ? draft.pack?.name : undefined;
    };
    expect(packOf("ngram-2")).toBe("general-3");
    expect(packOf("ngram-3")).toBe("general-3");
    expect(packOf("ngram-4@big")).toBe("big");
    expect(packOf("ngram-3", "self-3")).toBe("self-3");
    expect(() => packOf("ngram-4")).toThrow("at most 3");
    expect(() => packOf("ngram-2", "nope")).toThrow("has: big, self-3, general-3");
    expect(() => packOf("ngram-5@big")).toThrow("ngram-5");
  });

  test.each(["", "ngram", "ngram-1", "ngram-6", "ngram-3-17best", "0gram-0best", "oracle-17", "constructor"])(
    "%j is refused",
    (name) => {
      expect(() => parseMethod(name, manifest, OPTIONS)).toThrow(`"${name}"`);
    },
  );
});

describe("a method", () => {
  const file = { path: "", bytes: 0, sha256: "" };
  const calibrated: BundleManifest = { ...paired, graphs: { ...paired.graphs, neural: file } };
  const all = { heads: 4, top_k: 4, max_nodes: 63 };

  /** Of the request, as the API reads and plans it. */
  function served(speculation: object) {
    const { speculation: asked } = parseChat({
      model: "toy",
      messages: [{ role: "user", content: "hi" }],
      speculation,
    });
    return planDraft(asked, calibrated, { own: null, predicted: false, allowed: null });
  }

  test.each([
    ["none", {}],
    ["neural", {}],
    ["ngram-2", { order: 2, prompt: false }],
    ["ngram-3-prompt", { order: 3, prompt: true }],
    ["ngram-3-16best", { order: 3, p_best: 16, prompt: false }],
    ["ngram-4@big", { order: 4, model: "big", prompt: false }],
    ["0gram-16best", { type: "ngram", order: 2, alpha: 0, p_best: 16, prompt: false }],
    ["path-lm", { prompt: false, p_best: 1 }],
    ["path-2best", { prompt: true, p_best: 2 }],
    ["tree", { prompt: true }],
    ["tree-heads", { prompt: false, alpha: 0, pair: false }],
    ["tree@self-3", { prompt: true, model: "self-3" }],
    ["pair", {}],
    ["pair-16best", { p_best: 16 }],
    ["path-no-pair", { prompt: true, p_best: 1, pair: false }],
    ["tree-pair", { prompt: true, pair: true }],
  ])("%s drafts as a request that asks the same is served", (name, rescorer) => {
    const { draft, ...sizes } = parseMethod(name, calibrated, OPTIONS);
    const plan = served({ ...all, rescorer: { type: rescorerOf(name) ?? "ngram", ...rescorer } });
    if (!isRefined(draft)) throw new Error(`${name} is none of the product's`);
    const { pack, calibration: _, ...spec } = draft;
    expect(sizes).toEqual({ name, heads: plan.heads, topK: plan.topK, maxNodes: plan.maxNodes });
    expect({ spec, pack }).toEqual({ spec: plan.rescorer, pack: plan.pack });
  });

  test("of plain decoding asks for no more than a request without speculation", () => {
    expect(parseMethod("ar", calibrated, OPTIONS)).toMatchObject({ heads: 0, maxNodes: 0 });
    expect(served({ enabled: false })).toMatchObject({ heads: 0, maxNodes: 0 });
  });

  test("is refused where a request would be", () => {
    const few = { ...calibrated, calibration: { ...calibrated.calibration!, weights: { heads: [] } } };
    expect(() => parseMethod("tree", few, OPTIONS)).toThrow("method \"tree\": Invalid 'speculation.rescorer.alpha'");
  });
});

describe("oracle", () => {
  const lattice = createLattice(3, 2, Uint32Array.from([8, 1, 2, 9, 7, 6]), new Float32Array(6));

  test("follows the truth while the lattice lists it", () => {
    const oracle = oracleRescorer(2, [5, 1, 2, 3], 2);
    oracle.commit([0, 0]);
    oracle.commit([5]);
    expect([...oracle.draft(lattice, 63).tokens]).toEqual([1, 2]);
    expect([...oracle.draft(lattice, 1).tokens]).toEqual([1]);
  });

  test("sees only the first k columns", () => {
    const oracle = oracleRescorer(2, [5, 1, 2, 3], 1);
    oracle.commit([0, 0, 5]);
    expect([...oracle.draft(lattice, 63).tokens]).toEqual([]);
  });
});

describe("prompt lookup", () => {
  const rows = (n: number) => createLattice(n, 1, new Uint32Array(n), new Float32Array(n));

  test("copies what followed the earliest longest match", () => {
    const lookup = promptLookup();
    lookup.commit([1, 2, 3, 4, 9, 1, 2, 3, 5, 1]);
    lookup.commit([2, 3]);
    expect([...lookup.draft(rows(10), 63).tokens]).toEqual([4, 9, 1, 2, 3, 5, 1, 2, 3]);
    expect([...lookup.draft(rows(2), 63).tokens]).toEqual([4, 9]);
    expect([...lookup.draft(rows(10), 1).tokens]).toEqual([4]);
  });

  test("falls back to shorter matches, then to nothing", () => {
    const lookup = promptLookup();
    lookup.commit([7, 8, 5, 7]);
    expect([...lookup.draft(rows(10), 63).tokens]).toEqual([8, 5, 7]);
    lookup.commit([6]);
    expect([...lookup.draft(rows(10), 63).tokens]).toEqual([]);
  });
});
