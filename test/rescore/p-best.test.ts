import { describe, expect, test } from "vitest";
import type { Lattice } from "../../shared/lattice.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import { EMPTY_STATE, type NgramModel } from "../../shared/ngram/model.ts";
import { PathSearch } from "../../shared/rescore/p-best.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { HASH, prng, toyModel } from "../ngram/helpers.ts";
import { allPaths, randomLattice } from "./helpers.ts";

const vocabSize = 19;
const packs = [2, 3, 4].map((order) =>
  loadPack(
    writePack(
      toyModel({ seed: order, order, vocabSize, thresholds: [0, 0, 0, 1].slice(0, order), length: 300 }).table,
      HASH,
    ),
  ),
);

function found(search: PathSearch, columns: number): { ranks: number[]; score: number }[] {
  return Array.from({ length: search.count }, (_, path) => ({
    ranks: Array.from({ length: columns }, (_, i) => search.rank(path, i)),
    score: search.scores[path]!,
  }));
}

function check(
  lattice: Lattice,
  columns: number,
  model: NgramModel | null,
  alpha: number,
  pBest: number,
  state: number,
): void {
  const search = new PathSearch(model, alpha);
  search.run(lattice, columns, state, pBest);
  expect(found(search, columns)).toEqual(
    allPaths(lattice, columns, alpha === 0 ? null : model, alpha, state).slice(0, pBest),
  );
}

function randomState(model: NgramModel, random: () => number): number {
  let state = EMPTY_STATE;
  for (let i = 0; i < 3; i++) {
    model.score(state, Math.floor(random() * vocabSize));
    state = model.next;
  }
  return state;
}

describe("the search equals brute force, order of ties included", () => {
  test.each([
    ["fine scores", 0.001, 0, false],
    ["coarse scores that tie", 1, 0, false],
    ["impossible candidates", 0.25, 0.4, false],
    ["repeated tokens in a column", 0.5, 0, true],
  ])("%s", (_, step, impossible, repeats) => {
    const random = prng(step * 1000 + 1);
    for (let round = 0; round < 400; round++) {
      const heads = 1 + Math.floor(random() * 5);
      const k = 1 + Math.floor(random() * 5);
      const lattice = randomLattice(random, { heads, k, vocabSize, step, impossible, repeats });
      const pack = packs[round % packs.length]!;
      const model = pack.withOrder(2 + Math.floor(random() * (pack.order - 1)));
      const alpha = [0, 0.1, 0.3, 0.5, 0.9, 1][Math.floor(random() * 6)]!;
      check(
        lattice,
        1 + Math.floor(random() * heads),
        model,
        alpha,
        1 + Math.floor(random() * 16),
        randomState(model, random),
      );
    }
  });

  test("contexts with so many children that the model keeps a row of bits for them", () => {
    const random = prng(79);
    const size = 160;
    const { table } = toyModel({ seed: 6, order: 3, vocabSize: size, thresholds: [0, 0, 1], length: 10_000 });
    const model = loadPack(writePack(table, HASH));
    expect(model.arrays.denseAt.some((at) => at >= 0)).toBe(true);
    for (let round = 0; round < 60; round++) {
      const lattice = randomLattice(random, { heads: 4, k: 6, vocabSize: size, step: 0.25 });
      check(lattice, 4, model, 0.6, 1 + Math.floor(random() * 16), EMPTY_STATE);
    }
  });

  test("long thin lattices, up to sixteen columns", () => {
    const random = prng(77);
    for (let round = 0; round < 30; round++) {
      const heads = 9 + Math.floor(random() * 4);
      const lattice = randomLattice(random, { heads, k: 2, vocabSize, step: 0.5 });
      check(lattice, heads, packs[2]!, 0.4, 16, EMPTY_STATE);
    }
    check(randomLattice(random, { heads: 16, k: 1, vocabSize, step: 0.5 }), 16, packs[2]!, 0.4, 16, EMPTY_STATE);
  });

  test("a search before does not colour the next one", () => {
    const random = prng(78);
    const model = packs[2]!;
    const search = new PathSearch(model, 0.5);
    for (let round = 0; round < 200; round++) {
      const heads = 1 + Math.floor(random() * 5);
      const lattice = randomLattice(random, { heads, k: 4, vocabSize, step: 0.25 });
      const pBest = 1 + Math.floor(random() * 16);
      search.run(lattice, heads, EMPTY_STATE, pBest);
      expect(found(search, heads)).toEqual(allPaths(lattice, heads, model, 0.5, EMPTY_STATE).slice(0, pBest));
    }
  });
});

test("paths come sorted and distinct at full size", () => {
  const random = prng(5);
  for (let round = 0; round < 20; round++) {
    const lattice = randomLattice(random, { heads: 8, k: 16, vocabSize, step: 0.1 });
    const search = new PathSearch(packs[2]!, 0.5);
    search.run(lattice, 8, EMPTY_STATE, 16);
    const paths = found(search, 8);
    expect(paths.length).toBe(16);
    expect(new Set(paths.map((path) => path.ranks.join())).size).toBe(16);
    for (let i = 1; i < 16; i++) expect(paths[i]!.score).toBeLessThanOrEqual(paths[i - 1]!.score);
  }
});
