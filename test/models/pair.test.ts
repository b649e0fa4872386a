import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { readBundle } from "../../gpu-worker/bundle.ts";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ensureBundle, inputsOf } from "../../models/bundle.ts";
import { checkPair } from "../../models/compile/pair.ts";
import { packageSource, sealPackage } from "../../models/package.ts";
import { readSafetensors, type SafeTensors } from "../../models/safetensors.ts";
import { MODELS_DIR } from "../../models/source.ts";
import type { PairQuery } from "../../shared/lattice.ts";
import { LIMITS } from "../../shared/limits.ts";
import { type BundleManifest, graphFiles, type Precision } from "../../shared/manifest.ts";
import { Random } from "../helpers/random.ts";
import { PLAIN } from "../helpers/session.ts";
import { inMemory, type PairTensors, randomPair, writePairFile } from "./pair-file.ts";

const kept = process.env.FOREDRAFT_CACHE;
const quiet = { onNotice: () => undefined };
const IDS = [2, 3, 5, 8, 13, 21];
const RANK = 8;

let dir = "";
let heads: SafeTensors;
let tensors: PairTensors;
/** A package of `tiny` with pair scores. */
let folder = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-pair-"));
  process.env.FOREDRAFT_CACHE = join(dir, "cache");
  folder = join(dir, "paired");
  await cp(join(MODELS_DIR, "tiny"), folder, { recursive: true });
  const source = JSON.parse(await readFile(join(folder, "source.json"), "utf8"));
  await writeFile(join(folder, "source.json"), JSON.stringify({ ...source, name: "paired" }));
  heads = await readSafetensors(join(folder, "heads.safetensors"));
  tensors = randomPair(IDS, RANK, heads.get("trunk.weight").shape[0]!, new Random(9));
  await writePairFile(join(folder, "pair.safetensors"), tensors);
  await sealPackage(folder);
});
afterAll(async () => {
  if (kept === undefined) delete process.env.FOREDRAFT_CACHE;
  else process.env.FOREDRAFT_CACHE = kept;
  await rm(dir, { recursive: true, force: true });
});

async function manifestOf(bundle: string): Promise<BundleManifest> {
  return JSON.parse(await readFile(join(bundle, "manifest.json"), "utf8")) as BundleManifest;
}

const floatsOf = ({ values, scales }: PairQuery) =>
  Array.from(values, (value, i) => value * scales[i < values.length / 2 ? 0 : 1]!);

/** Lattices of the first token and of a step, as an engine over the bundle gives them. */
async function latticesOf(precision: Precision, pair: boolean) {
  const engine = await createInProcessEngine(await ensureBundle(folder, { ...quiet, precision }), { threads: 1 });
  try {
    const { model, latticeHeads, topK } = engine.bundle;
    expect(engine.bundle.pair).toBe(true);
    const spec = { ...PLAIN, model, prompt: Uint32Array.of(5, 60, 7, 200), heads: latticeHeads, topK, pair };
    const session = await engine.open(spec, new AbortController().signal);
    session.close();
    return session.opened;
  } finally {
    await engine.close();
  }
}

describe("a bundle with pair scores", () => {
  it("holds their tables, and is checked with them", async () => {
    const bundle = await ensureBundle(folder, quiet);
    const { graphs } = await manifestOf(bundle);
    expect(graphFiles(graphs)).toContainEqual(graphs.pair);
    expect(graphs.pair?.path).toBe("pair.safetensors");
    const stored = await readSafetensors(join(bundle, "pair.safetensors"));
    for (const [name, tensor] of Object.entries(tensors)) {
      if (name.startsWith("query.")) expect(stored.has(name)).toBe(false);
      else expect(stored.get(name)).toEqual(tensor);
    }
    const damaged = join(dir, "damaged");
    await cp(bundle, damaged, { recursive: true });
    const bytes = await readFile(join(damaged, "pair.safetensors"));
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(join(damaged, "pair.safetensors"), bytes);
    await expect(readBundle(damaged)).rejects.toThrow("pair.safetensors is not the file its manifest names");
  });

  it("gives sessions that want it a query with their lattices, in integers nearly as in floats", async () => {
    const [integers, floats] = [await latticesOf("int8", true), await latticesOf("fp32", true)];
    expect(integers.bonus).toBe(floats.bonus);
    const [got, expected] = [floatsOf(integers.lattice.query!), floatsOf(floats.lattice.query!)];
    expect(expected).toHaveLength(2 * RANK);
    const most = Math.max(...expected.map(Math.abs));
    for (const [i, value] of expected.entries()) expect(Math.abs(got[i]! - value)).toBeLessThan(0.1 * most);
    const plain = await latticesOf("int8", false);
    expect(plain.lattice).toEqual({ ...integers.lattice, query: null });
  });

  it("is made anew when they change", async () => {
    const inputs = async () => inputsOf(await packageSource(folder), "int8");
    const before = await inputs();
    await writePairFile(join(folder, "pair.safetensors"), { ...tensors, bias: randomBias() });
    await sealPackage(folder);
    expect(await inputs()).not.toBe(before);
    await writePairFile(join(folder, "pair.safetensors"), tensors);
    await sealPackage(folder);
    expect(await inputs()).toBe(before);
  });
});

function randomBias() {
  return { shape: [IDS.length], values: new Float32Array(IDS.length).fill(0.5) };
}

describe("pair scores are refused", () => {
  const floats = (...shape: number[]) => ({ shape, values: new Float32Array(shape.reduce((a, b) => a * b)) });
  const integers = (...shape: number[]) => ({ shape, values: new Int32Array(shape.reduce((a, b) => a * b)) });
  const one = (tensor: string, value: number) => (all: PairTensors) => {
    const values = all[tensor]!.values.slice();
    values[1] = value;
    return { [tensor]: { ...all[tensor]!, values } };
  };
  const MOST = LIMITS.pairRank;

  test.each<[string, (all: PairTensors) => Partial<PairTensors>, string]>([
    ["of a rank that is no multiple of 4", () => ({ first: integers(6, 6) }), `at most ${MOST}, not 6`],
    ["of too high a rank", () => ({ first: integers(6, MOST + 4) }), `at most ${MOST}, not ${MOST + 4}`],
    ["with another table of other tokens", () => ({ second: integers(5, RANK) }), "its second is [5, 8], and by its"],
    ["without a scale each", () => ({ "first.scales": floats(5) }), "its first.scales is [5], and by its ids [6]"],
    ["without a bias each", () => ({ bias: floats(7) }), "its bias is [7], and by its ids [6]"],
    ["of other draft heads", () => ({ "query.weight": floats(16, 8) }), "hidden layer of the draft heads [16, 256]"],
    ["with half a query", () => ({ "query.bias": floats(8) }), "its query.bias is [8], and by its rank [16]"],
    ["with a bias of NaN", one("bias", Number.NaN), "its bias is not finite"],
    ["of more than eight bits", one("second", 128), "its second holds values of more than eight bits"],
    ["with floats for a table", () => ({ first: floats(6, RANK) }), "its first holds no integers"],
    ["with ids that do not rise", one("ids", 2), "its ids do not rise"],
    [
      "with ids beyond the vocabulary",
      () => ({ ids: { shape: [6], values: Int32Array.of(0, 1, 2, 3, 4, 99) } }),
      "below 99",
    ],
  ])("%s", (_, change, words) => {
    const changed = inMemory({ ...tensors, ...change(tensors) } as PairTensors);
    expect(() => checkPair(changed, heads, 99)).toThrow(words);
    expect(() => checkPair(changed, heads, 99)).toThrow(/^pair\.safetensors: /);
    checkPair(inMemory(tensors), heads, 99);
  });

  test("without draft heads, and with Medusa's", () => {
    expect(() => checkPair(inMemory(tensors), null, 99)).toThrow("this model has none");
    const medusa = { ...heads, has: (name: string) => name === "0.0.linear.weight" };
    expect(() => checkPair(inMemory(tensors), medusa, 99)).toThrow("Medusa's have none");
  });

  test("by their file's name, before anything is compiled", async () => {
    const other = join(dir, "other");
    await cp(folder, other, { recursive: true });
    await writePairFile(join(other, "pair.safetensors"), { ...tensors, "query.weight": floats(16, 8) });
    await sealPackage(other);
    await expect(ensureBundle(other, quiet)).rejects.toThrow("pair.safetensors: its query.weight is [16, 8]");
  });
});
