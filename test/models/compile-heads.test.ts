import { access, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ort from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { defaultCacheDir } from "../../gpu-worker/config.ts";
import { llamaTraits } from "../../gpu-worker/integer/layout.ts";
import { IntegerModel } from "../../gpu-worker/integer/model.ts";
import { buildHeads, headsInfo } from "../../models/compile/heads.ts";
import { writeIntegerModel } from "../../models/compile/integer.ts";
import { writeIntegerHeads } from "../../models/compile/integer-heads.ts";
import type { SafeTensors } from "../../models/safetensors.ts";
import { Random } from "../helpers/random.ts";
import { expectNear } from "./expect-near.ts";
import { naiveLlama } from "./naive-llama.ts";
import { inMemory, type PairTensors, queryOf, randomPair } from "./pair-file.ts";

const SHAPE = { layers: 1, width: 64, heads: 4, kvHeads: 2, ffn: 96, vocabSize: 52, tied: true };

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-compile-heads-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const HEADS = { count: 3, inner: 48, topK: 5, taps: [0] };

/** Random heads of the shapes in models/README.md. */
function randomHeads(
  width: number,
  draftIds: Int32Array,
  random: Random,
  inner = HEADS.inner,
): SafeTensors & { at(name: string): number[] } {
  const inputs = (HEADS.taps.length + 2) * width;
  const fill = (rows: number, columns: number) =>
    Float32Array.from({ length: rows * columns }, () => (random.unit() - 0.5) / Math.sqrt(columns));
  const tensors = new Map<string, { shape: number[]; values: Float32Array | Int32Array }>([
    ["in_norm.weight", { shape: [inputs], values: fill(1, inputs).map((v) => v + 1) }],
    ["trunk.weight", { shape: [inner, inputs], values: fill(inner, inputs) }],
    ["draft_ids", { shape: [draftIds.length], values: draftIds }],
    ["copy.gate_weight", { shape: [HEADS.count, inner], values: fill(HEADS.count, inner) }],
    ["copy.match", { shape: [HEADS.count, 9], values: fill(HEADS.count, 9) }],
    ["copy.gate_match", { shape: [HEADS.count, 9], values: fill(HEADS.count, 9) }],
    ["copy.age", { shape: [HEADS.count], values: fill(1, HEADS.count) }],
    ["copy.gate_agree", { shape: [HEADS.count], values: fill(1, HEADS.count) }],
  ]);
  for (let j = 0; j < HEADS.count; j++) {
    tensors.set(`head.${j}.weight`, { shape: [width, inner], values: fill(width, inner) });
    tensors.set(`head.${j}.bias`, { shape: [width], values: fill(1, width) });
  }
  return {
    metadata: { taps: HEADS.taps.join(","), heads: String(HEADS.count) },
    has: (name) => tensors.has(name),
    get: (name) => tensors.get(name)!,
    floats: (name) => tensors.get(name)!.values as Float32Array,
    at: (name) => [...tensors.get(name)!.values],
  };
}

const DRAFT_IDS = Int32Array.of(1, 4, 7, 11, 20, 31, 32, 45);

/** The lattice's log-probabilities by head and token, the gates and the hidden layer, by the formulas of models/README.md. */
function latticeOf(file: ReturnType<typeof randomHeads>, embedding: Float32Array, hidden: Float32Array, bonus: number) {
  const width = hidden.length / 2;
  const emb = (id: number) => [...embedding.subarray(id * width, (id + 1) * width)];
  const features = [[...hidden.subarray(0, width)], [...hidden.subarray(width)], emb(bonus)];
  const rms = (x: number[]) => Math.sqrt(x.reduce((s, v) => s + v * v, 0) / x.length + 1e-5);
  const inNorm = file.at("in_norm.weight");
  const z = features.flatMap((f) => f.map((v) => v / rms(f))).map((v, i) => v * inNorm[i]!);
  const product = (matrix: number[], rows: number, x: number[]) =>
    Array.from({ length: rows }, (_, r) => x.reduce((s, v, c) => s + v * matrix[r * x.length + c]!, 0));
  const u = product(file.at("trunk.weight"), HEADS.inner, z).map((v) => v / (1 + Math.exp(-v)));
  const rows = Array.from({ length: HEADS.count }, (_, j) => {
    const bias = file.at(`head.${j}.bias`);
    const residual = product(file.at(`head.${j}.weight`), width, u);
    const state = residual.map((v, i) => v + bias[i]! + hidden[width + i]!);
    const logits = [...DRAFT_IDS].map((id) => emb(id).reduce((s, v, i) => s + v * state[i]!, 0));
    const mass = Math.log(logits.reduce((s, v) => s + Math.exp(v), 0));
    return new Map([...DRAFT_IDS].map((id, i) => [id, logits[i]! - mass]));
  });
  return { rows, gates: product(file.at("copy.gate_weight"), HEADS.count, u), u };
}

/** Lattices of heads [tokens and log-probabilities by session, head, rank] beside those of the formula. */
function expectLattices(
  outputs: readonly { tokens: ArrayLike<number>; logProbs: ArrayLike<number>; gate: ArrayLike<number> }[],
  expected: readonly ReturnType<typeof latticeOf>[],
  tolerance: number,
): void {
  const near = (actual: number, value: number) => expect(Math.abs(actual - value)).toBeLessThan(tolerance);
  for (const [s, { tokens, logProbs, gate }] of outputs.entries()) {
    const { rows, gates } = expected[s]!;
    expect([tokens.length, logProbs.length, gate.length]).toEqual([15, 15, 3]);
    for (const [j, byToken] of rows.entries()) {
      near(gate[j]!, gates[j]!);
      const best = [...byToken.values()].sort((a, b) => b - a);
      const row = Array.from({ length: HEADS.topK }, (_, k) => j * HEADS.topK + k);
      for (const [k, at] of row.entries()) {
        near(logProbs[at]!, byToken.get(tokens[at]!)!);
        near(logProbs[at]!, best[k]!);
        if (k > 0) expect(logProbs[at]).toBeLessThanOrEqual(logProbs[at - 1]!);
      }
      expect(new Set(row.map((at) => tokens[at])).size).toBe(HEADS.topK);
    }
  }
}

/** Queries of each session beside those of the formula. */
function expectQueries(
  queries: readonly ArrayLike<number>[],
  pair: PairTensors,
  expected: readonly ReturnType<typeof latticeOf>[],
  tolerance: number,
): void {
  for (const [s, { u }] of expected.entries()) expectNear(queries[s]!, queryOf(pair, u), tolerance);
}

describe("random heads", () => {
  const pair = randomPair([2, 3], 12, HEADS.inner, new Random(8));
  const bonus = Int32Array.of(17, 0, 45);

  it("give each session's lattice of its formula as a graph", async () => {
    const random = new Random(3);
    const { weights } = naiveLlama(SHAPE, random);
    const { width } = weights.config;
    const embedding = new Float32Array((await weights.embedding()).data.buffer);
    const file = randomHeads(width, DRAFT_IDS, random);
    const hidden = Float32Array.from({ length: bonus.length * 2 * width }, () => random.unit() * 6 - 3);
    const session = await ort.InferenceSession.create(
      await await buildHeads(weights, file, HEADS.topK, "fp32", null, inMemory(pair)),
    );
    const out = await session.run({
      hidden: new ort.Tensor("float32", hidden, [bonus.length, 2 * width]),
      bonus: new ort.Tensor("int32", bonus, [bonus.length]),
    });
    await session.release();
    const part = (name: string, s: number) => {
      const { data, dims } = out[name]!;
      const size = data.length / dims[0]!;
      return Array.from({ length: size }, (_, i) => Number(data[s * size + i]));
    };
    const outputs = [...bonus.keys()].map((s) => ({
      tokens: part("tokens", s),
      logProbs: part("log_probs", s),
      gate: part("gate", s),
    }));
    const expected = [...bonus].map((token, s) =>
      latticeOf(file, embedding, hidden.subarray(s * 2 * width, (s + 1) * 2 * width), token),
    );
    expectLattices(outputs, expected, 1e-4);
    expectQueries(
      [...bonus.keys()].map((s) => part("query", s)),
      pair,
      expected,
      1e-5,
    );
  });

  it.each([1, 2])("give each session's lattice of its formula in integers, by %i threads", async (members) => {
    const random = new Random(3);
    const { weights } = naiveLlama(SHAPE, random);
    const { ropeFrequencies, ...sizes } = weights.config;
    const embedding = new Float32Array((await weights.embedding()).data.buffer);
    const file = randomHeads(sizes.width, DRAFT_IDS, random);
    const [weightsPath, headsPath] = [join(dir, "base.safetensors"), join(dir, "heads.safetensors")];
    await writeIntegerModel(weightsPath, weights, () => undefined);
    await writeIntegerHeads(headsPath, weights, file, HEADS.topK, inMemory(pair));
    const heads = { latticeHeads: HEADS.count, topK: HEADS.topK, copyHeads: headsInfo(file).copy, taps: HEADS.taps };
    const model = await IntegerModel.load({
      shape: { ...sizes, ...heads, traits: llamaTraits(sizes), contextTokens: 64, kvBytes: 1 << 20, members },
      ropeFrequencies: [...ropeFrequencies],
      weightsPath,
      headsPath,
      cacheDir: defaultCacheDir(),
    });
    const tokens = Uint32Array.of(3, 41, 8, 30, 12);
    await model.forward([{ length: 0, pages: Int32Array.of(1), tokens, parents: null, wanted: "all", logits: false }]);
    const rows = [4, 0, 2];
    const outputs = await model.heads(rows.map((row, s) => ({ row, bonus: bonus[s]! })));
    const expected = rows.map((row, s) => latticeOf(file, embedding, model.features(row), bonus[s]!));
    const lattices = outputs.map(({ lattice, gate }) => ({ ...lattice, gate: gate! }));
    expectLattices(lattices, expected, 0.15);
    expectQueries(
      outputs.map(({ query }) => query!),
      pair,
      expected,
      0.02,
    );
    await model.release();
  });

  it("give queries in integers where they do not copy, and none without pair scores", async () => {
    const { weights } = naiveLlama(SHAPE, new Random(3));
    const { ropeFrequencies, ...sizes } = weights.config;
    const embedding = new Float32Array((await weights.embedding()).data.buffer);
    const copying = randomHeads(sizes.width, DRAFT_IDS, new Random(4));
    const file = { ...copying, has: (name: string) => name !== "copy.gate_weight" && copying.has(name) };
    const weightsPath = join(dir, "base.safetensors");
    await writeIntegerModel(weightsPath, weights, () => undefined);
    for (const pairs of [inMemory(pair), null]) {
      const headsPath = join(dir, "heads.safetensors");
      await writeIntegerHeads(headsPath, weights, file, HEADS.topK, pairs);
      const heads = { latticeHeads: HEADS.count, topK: HEADS.topK, copyHeads: null, taps: HEADS.taps };
      const model = await IntegerModel.load({
        shape: { ...sizes, ...heads, traits: llamaTraits(sizes), contextTokens: 64, kvBytes: 1 << 20, members: 1 },
        ropeFrequencies: [...ropeFrequencies],
        weightsPath,
        headsPath,
        cacheDir: defaultCacheDir(),
      });
      const [pages, tokens] = [Int32Array.of(1), Uint32Array.of(3, 41)];
      await model.forward([{ length: 0, pages, tokens, parents: null, wanted: "all", logits: false }]);
      const outputs = await model.heads([1, 0].map((row) => ({ row, bonus: 17 })));
      expect(outputs.map(({ gate }) => gate)).toEqual([null, null]);
      const expected = [1, 0].map((row) => latticeOf(copying, embedding, model.features(row), 17));
      if (pairs === null) expect(outputs.map(({ query }) => query)).toEqual([null, null]);
      else
        expectQueries(
          outputs.map(({ query }) => query!),
          pair,
          expected,
          0.02,
        );
      await model.release();
    }
  });

  it.each([
    ["a hidden layer that is a multiple of 8, not 44", 44, DRAFT_IDS],
    ["a draft vocabulary that is a multiple of 8, not 7", 48, DRAFT_IDS.subarray(0, 7)],
    ["fewer than topK 9", 48, DRAFT_IDS],
  ])("are not made integers of where the kernel does not take them: %s", async (message, inner, draftIds) => {
    const { weights } = naiveLlama(SHAPE, new Random(1));
    const file = randomHeads(weights.config.width, draftIds, new Random(2), inner);
    const topK = message.includes("topK") ? 9 : HEADS.topK;
    await expect(writeIntegerHeads(join(dir, "refused"), weights, file, topK)).rejects.toThrow(message);
    await expect(access(join(dir, "refused"))).rejects.toThrow("ENOENT");
  });
});

it("reads what copying needs beside the graph, head by head", () => {
  const file = randomHeads(8, Int32Array.of(1, 4), new Random(4));
  const { copy } = headsInfo(file);
  expect(copy!.match).toHaveLength(HEADS.count);
  expect(copy!.match.flat()).toEqual(file.at("copy.match"));
  expect(copy!.gateMatch.flat()).toEqual(file.at("copy.gate_match"));
  expect(copy).toMatchObject({ age: file.at("copy.age"), gateAgree: file.at("copy.gate_agree") });
  expect(headsInfo({ ...file, has: () => false }).copy).toBeNull();
});
