import { describe, expect, test } from "vitest";
import { LIMITS } from "../../shared/limits.ts";
import { PairScores, PairTables } from "../../shared/rescore/pair-scores.ts";
import { Random } from "../helpers/random.ts";
import { randomLattice } from "./helpers.ts";
import { safetensors, type ToyTensor, toyPairs, toyQuery, toyTensors, withQuery } from "./toy-pairs.ts";

const vocabSize = 21;
/** Tokens that no table has, too. */
const TOKENS = Array.from({ length: vocabSize + 3 }, (_, token) => token);

function scene(seed: number, rank: number) {
  const random = new Random(seed);
  const pairs = toyPairs(random, vocabSize, rank);
  const bare = randomLattice(() => random.unit(), { heads: 4, k: 5, vocabSize, step: 0.5 });
  return { random, pairs, bare };
}

describe("scores of pairs", () => {
  test.each([4, 16, LIMITS.pairRank])("are as defined, at rank %i", (rank) => {
    const { random, pairs, bare } = scene(rank, rank);
    const scores = new PairScores(pairs.tables);
    const out = new Float64Array(LIMITS.topK + 2);
    for (let round = 0; round < 3; round++) {
      const query = toyQuery(random, rank);
      scores.begin(withQuery(bare, query));
      for (const a of TOKENS) {
        scores.after(a);
        for (const b of TOKENS) expect(scores.score(b)).toBe(pairs.score(query, a, b));
        for (let column = 0; column < bare.heads; column++) {
          scores.scoreColumn(column, out, 2);
          for (let c = 0; c < bare.k; c++) {
            const b = bare.tokens[column * bare.k + c]!;
            expect(out[2 + c]).toBe(pairs.score(query, a, b));
          }
          expect([out[0], out[1]]).toEqual([0, 0]);
        }
      }
    }
  });

  test("are 0 without a query, and with one of another rank or without a size", () => {
    const { random, pairs, bare } = scene(2, 4);
    const scores = new PairScores(pairs.tables);
    const { values } = toyQuery(random);
    const queries = [
      null,
      toyQuery(random, 8),
      { values, scales: [Number.NaN, 1] as const },
      { values, scales: [1, Infinity] as const },
    ];
    for (const query of queries) {
      scores.begin(withQuery(bare, toyQuery(random)));
      scores.after(2);
      scores.begin(withQuery(bare, query));
      scores.after(2);
      const out = new Float64Array(LIMITS.topK).fill(1);
      scores.scoreColumn(0, out, 0);
      expect([scores.active, scores.score(4)]).toEqual([false, 0]);
      expect(out).toEqual(new Float64Array(LIMITS.topK));
    }
  });
});

describe("tables of pairs", () => {
  const whole = toyTensors(new Random(1), vocabSize, 8);
  const changed = (name: string, change: Partial<ToyTensor>) =>
    safetensors({ ...whole, [name]: { ...whole[name]!, ...change } });
  const without = (name: string) =>
    safetensors(Object.fromEntries(Object.entries(whole).filter(([one]) => one !== name)));
  const count = whole.ids!.shape[0]!;
  const ids = (...last: number[]) =>
    changed("ids", { values: Int32Array.from(whole.ids!.values).map((id, i) => last[i - count + last.length] ?? id) });

  test("may lie anywhere in memory, beside tensors that are not theirs", () => {
    const bytes = safetensors({ "query.bias": { dtype: "F32", shape: [16], values: new Float32Array(16) }, ...whole });
    const shifted = new Uint8Array(bytes.length + 3).subarray(3);
    shifted.set(bytes);
    const tables = new PairTables(shifted);
    expect(tables).toEqual(new PairTables(safetensors(whole)));
    expect([tables.rank, tables.row(0), tables.row(1), tables.row(4), tables.row(vocabSize + 1)]).toEqual([
      8, 0, -1, 2, -1,
    ]);
  });

  test("of no tokens know none", () => {
    const none = Object.entries(whole).map(
      ([name, { dtype, shape }]) => [name, { dtype, shape: [0, ...shape.slice(1)], values: new Int8Array() }] as const,
    );
    expect(new PairTables(safetensors(Object.fromEntries(none))).row(0)).toBe(-1);
  });

  test.each([
    ["no safetensors", new Uint8Array(20).fill(255), /not a safetensors file/],
    ["a tensor missing", without("second.scales"), /without 'second.scales'/],
    ["no ids", without("ids"), /without 'ids'/],
    ["another type", changed("bias", { dtype: "F16" }), /'bias' is F16 \[11\], not F32 \[11\]/],
    ["another size", changed("second", { shape: [8, 11] }), /'second' is I8 \[8, 11\], not I8 \[11, 8\]/],
    ["fewer bytes than its shape", changed("bias", { values: new Float32Array(3) }), /'bias' is/],
    ["ids that fall", ids(20, 18), /'ids' do not ascend/],
    ["ids twice", ids(20, 20), /'ids' do not ascend/],
    [
      "a negative id",
      safetensors({ ...whole, ids: { ...whole.ids!, values: Int32Array.from(whole.ids!.values, (id) => id - 1) } }),
      /'ids' do not ascend/,
    ],
    ["an id beyond all vocabularies", ids(1 << 30), /'ids' do not ascend/],
    [
      "a scale that is no number",
      changed("first.scales", { values: new Float32Array(count).fill(Number.NaN) }),
      /'first.scales' has a value that is not finite/,
    ],
    ["a rank of no four", safetensors(toyTensors(new Random(1), vocabSize, 6)), /rank 6, not a multiple of 4/],
    ["too high a rank", safetensors(toyTensors(new Random(1), vocabSize, LIMITS.pairRank + 4)), /rank 116/],
  ])("are refused with %s", (_, bytes, message) => {
    expect(() => new PairTables(bytes)).toThrow(message);
  });
});
