import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { NeuralModel } from "../../gpu-worker/neural.ts";
import { loadNeural } from "../../gpu-worker/onnx/neural.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { buildNeural } from "../../models/compile/neural.ts";
import type { SafeTensors } from "../../models/safetensors.ts";
import { createLattice } from "../../shared/lattice.ts";
import { Random } from "../helpers/random.ts";
import { naiveLlama } from "./naive-llama.ts";

const WIDTH = 64;
const SIZE = 96;

/** Random weights of the shapes in models/README.md. */
function randomFile(random: Random): SafeTensors {
  const tensor = (rows: number, columns: number) => ({
    shape: [rows, columns],
    values: Float32Array.from({ length: rows * columns }, () => (4 * (random.unit() - 0.5)) / Math.sqrt(columns)),
  });
  const tensors = new Map([
    ["input.weight", tensor(3 * SIZE, WIDTH)],
    ["hidden.weight", tensor(3 * SIZE, SIZE)],
    ["output.weight", tensor(WIDTH, SIZE)],
    ["input.bias", { ...tensor(1, 3 * SIZE), shape: [3 * SIZE] }],
    ["hidden.bias", { ...tensor(1, 3 * SIZE), shape: [3 * SIZE] }],
    ["output.bias", { ...tensor(1, WIDTH), shape: [WIDTH] }],
  ]);
  return {
    metadata: {},
    has: (name) => tensors.has(name),
    get: (name) => tensors.get(name)!,
    floats: (name) => tensors.get(name)!.values,
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}

/** The formulas of models/README.md in float64, nothing shared with the compiler. */
class NaiveNeural {
  readonly #file: SafeTensors;
  readonly #embedding: Float32Array;

  constructor(file: SafeTensors, embedding: Float32Array) {
    this.#file = file;
    this.#embedding = embedding;
  }

  row(token: number): number[] {
    return [...this.#embedding.subarray(token * WIDTH, (token + 1) * WIDTH)];
  }

  product(name: string, x: readonly number[]): number[] {
    const matrix = this.#file.floats(`${name}.weight`);
    const bias = this.#file.floats(`${name}.bias`);
    return Array.from(bias, (b, r) => x.reduce((sum, value, c) => sum + value * matrix[r * x.length + c]!, b));
  }

  read(h: readonly number[], token: number): number[] {
    const emb = this.row(token);
    const rms = Math.sqrt(emb.reduce((sum, value) => sum + value * value, 0) / WIDTH + 1e-5);
    const outer = this.product(
      "input",
      emb.map((value) => value / rms),
    );
    const inner = this.product("hidden", h);
    const sigmoid = (value: number) => 1 / (1 + Math.exp(-value));
    return h.map((old, i) => {
      const reset = sigmoid(outer[i]! + inner[i]!);
      const update = sigmoid(outer[SIZE + i]! + inner[SIZE + i]!);
      const fresh = Math.tanh(outer[2 * SIZE + i]! + reset * inner[2 * SIZE + i]!);
      return (1 - update) * fresh + update * old;
    });
  }

  /** [k] log m' of candidates of probability m, of that the copied part c. */
  scores(h: readonly number[], candidates: readonly number[], m: number[], c: number[], alpha: number): number[] {
    const out = this.product("output", h);
    const logits = candidates.map((token) => this.row(token).reduce((sum, value, i) => sum + value * out[i]!, 0));
    const mass = sum(logits.map(Math.exp));
    const v = m.map((value, i) => Math.max(value - c[i]!, value * 2 ** -20));
    const weights = v.map((value, i) => value ** (1 - alpha) * (Math.exp(logits[i]!) / mass) ** alpha);
    return weights.map((weight, i) => Math.log((sum(v) * weight) / sum(weights) + c[i]!));
  }
}

describe.each([
  ["fp32", 1e-4],
  ["int8", 0.15],
] as const)("a random graph in %s", (precision, tolerance) => {
  let dir: string;
  let model: NeuralModel;
  let naive: NaiveNeural;
  const random = new Random(6);
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "foredraft-neural-"));
    const options = { layers: 1, width: WIDTH, heads: 2, kvHeads: 2, ffn: 64, vocabSize: 50, tied: true };
    const { weights } = naiveLlama(options, random);
    const file = randomFile(random);
    naive = new NaiveNeural(file, new Float32Array((await weights.embedding()).data.buffer));
    await writeFile(join(dir, "neural.onnx"), await buildNeural(weights, file, precision));
    model = await loadNeural(join(dir, "neural.onnx"));
  });
  afterAll(async () => {
    await model?.release();
    await rm(dir, { recursive: true, force: true });
  });

  test.each([
    [1, 0.4, [0]],
    [5, 0, [0, 0.5]],
    [3, 1, [0]],
    [2, 0.4, [0, 0.3, 1]],
    [2, 1, [0.9, 0, 0, 1, 0.2]],
  ])(
    "reads %i tokens and scores a lattice by its formula, alpha %d, copied shares %j",
    async (count, alpha, shares) => {
      const committed = Array.from({ length: count }, () => random.int(0, 49));
      const tokens = Uint32Array.from({ length: 12 }, () => random.int(0, 49));
      // So far apart that rounding does not change which candidate is best.
      const logProbs = Float32Array.from({ length: 12 }, (_, i) => -1 - 5 * (i % 4));
      const copied = logProbs.map((value, i) => shares[i % shares.length]! * Math.exp(value));
      const lattice = createLattice(3, 4, tokens, logProbs);
      let h: number[] = Array.from({ length: SIZE }, () => random.unit() - 0.5);
      const state = Float32Array.from(h);
      const out = await model.run({ state, committed, bonus: 9, lattice, copied, alpha });
      for (const token of committed) h = naive.read(h, token);
      for (const [i, value] of h.entries()) expect(Math.abs(out.state[i]! - value)).toBeLessThan(tolerance);
      let previous = 9;
      for (let at = 0; at < 12; at += 4) {
        h = naive.read(h, previous);
        const column = [...tokens.subarray(at, at + 4)];
        const m = [...logProbs.subarray(at, at + 4)].map(Math.exp);
        const expected = naive.scores(h, column, m, [...copied.subarray(at, at + 4)], alpha);
        const got = [...out.scores.subarray(at, at + 4)];
        for (const [i, score] of expected.entries()) expect(Math.abs(got[i]! - score)).toBeLessThan(4 * tolerance);
        // The path goes on with the graph's own choice.
        previous = column[got.indexOf(Math.max(...got))]!;
      }
    },
  );

  test("without copies and of weight 0 leaves the log-probabilities as they are, but for rounding", async () => {
    const tokens = Uint32Array.from({ length: 8 }, (_, i) => 3 * i);
    const logProbs = Float32Array.of(-0.5, -1, -3, -4, -0.1, -3, -90, -65_504);
    const run = {
      state: new Float32Array(SIZE),
      committed: [1],
      bonus: 9,
      lattice: createLattice(2, 4, tokens, logProbs),
    };
    const { scores } = await model.run({ ...run, copied: new Float32Array(8), alpha: 0 });
    for (const [i, score] of scores.entries()) expect(score / logProbs[i]!).toBeCloseTo(1, 5);
  });

  test("what is copied decides, where the small model disagrees, and the others are ranked by it all the same", async () => {
    const tokens = Uint32Array.of(4, 11, 23, 31);
    const run = { state: new Float32Array(SIZE), committed: [1], bonus: 9, alpha: 1 };
    const logProbs = Float32Array.of(-1.5, -1.5, -1.5, -1.5);
    const lattice = createLattice(1, 4, tokens, logProbs);
    const { scores: own } = await model.run({ ...run, lattice, copied: new Float32Array(4) });
    const worst = own.indexOf(Math.min(...own));
    const mixed = logProbs.map((value, i) => (i === worst ? -0.2 : value));
    const copied = Float32Array.from(tokens, (_, i) => (i === worst ? 0.8 : 0));
    const { scores } = await model.run({ ...run, lattice: createLattice(1, 4, tokens, mixed), copied });
    const order = (values: Float32Array) => [0, 1, 2, 3].sort((a, b) => values[b]! - values[a]!);
    expect(order(scores)).toEqual([worst, ...order(own).slice(0, -1)]);
  });
});

interface Case {
  readonly alpha: number;
  readonly committed: readonly number[];
  readonly bonus: number;
  readonly tokens: readonly (readonly number[])[];
  readonly log_probs: readonly (readonly number[])[];
  readonly copied: readonly (readonly number[])[];
  readonly chosen: readonly number[];
  readonly scores: readonly (readonly number[])[];
}

describe.each([
  ["fp32", 0.005],
  // The weights are rounded once more than in training.
  ["int8", 0.3],
] as const)("the local rescorer of tiny in %s", (precision, tolerance) => {
  const url = new URL("golden/tiny.neural.json", import.meta.url);
  const { cases } = JSON.parse(readFileSync(url, "utf8")) as { cases: Case[] };
  let model: NeuralModel;
  beforeAll(async () => {
    model = await loadNeural(join(await ensureBundle("tiny", { precision }), "neural.onnx"));
  });
  afterAll(() => model?.release());

  test.each(cases)("scores as the model it was trained as, alpha $alpha", async (golden) => {
    const { alpha, committed, bonus, chosen } = golden;
    const [rows, columns] = [golden.tokens.length, golden.tokens[0]!.length];
    const tokens = Uint32Array.from(golden.tokens.flat());
    const lattice = createLattice(rows, columns, tokens, Float32Array.from(golden.log_probs.flat()));
    const state = new Float32Array(model.size);
    const copied = Float32Array.from(golden.copied.flat());
    const { scores } = await model.run({ state, committed, bonus, lattice, copied, alpha });
    const off = golden.scores.flat().map((score, i) => Math.abs(scores[i]! - score));
    expect(Math.max(...off)).toBeLessThan(tolerance);
    for (let row = 0; row < rows; row++) {
      const column = [...scores.subarray(row * columns, (row + 1) * columns)];
      expect(golden.tokens[row]![column.indexOf(Math.max(...column))]).toBe(chosen[row]);
    }
  });
});
