import { describe, expect, test } from "vitest";
import { mergePaths, treeFault } from "../../shared/draft-tree.ts";
import { createLattice, EMPTY_LATTICE } from "../../shared/lattice.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import { EMPTY_STATE } from "../../shared/ngram/model.ts";
import { createRescorer, type RescorerSpec } from "../../shared/rescore/index.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { HASH, prng, toyModel } from "../ngram/helpers.ts";
import { allPaths, randomLattice } from "./helpers.ts";

const vocabSize = 19;
const pack = loadPack(writePack(toyModel({ seed: 4, order: 4, vocabSize, length: 300 }).table, HASH));
const ngram = (alpha: number, pBest: number, order = 4): RescorerSpec => ({ type: "ngram", order, alpha, pBest });
const lattices = (seed: number, count: number) => {
  const random = prng(seed);
  return Array.from({ length: count }, () =>
    randomLattice(random, {
      heads: 1 + Math.floor(random() * 5),
      k: 1 + Math.floor(random() * 5),
      vocabSize,
      step: 0.5,
    }),
  );
};

describe("none", () => {
  test("drafts every head's likeliest token, cut to the node budget", () => {
    const lattice = createLattice(3, 2, Uint32Array.of(1, 2, 3, 4, 5, 6), new Float32Array(6));
    const rescorer = createRescorer({ type: "none" }, null);
    expect([...rescorer.draft(lattice, 8).tokens]).toEqual([1, 3, 5]);
    expect([...rescorer.draft(lattice, 2).tokens]).toEqual([1, 3]);
    expect(rescorer.draft(EMPTY_LATTICE, 8).tokens.length).toBe(0);
  });
});

describe("ngram", () => {
  test("alpha 0 drafts what none drafts, with or without a pack", () => {
    for (const lattice of lattices(1, 100)) {
      const plain = createRescorer({ type: "none" }, null).draft(lattice, 8);
      expect(createRescorer(ngram(0, 1), pack).draft(lattice, 8)).toEqual(plain);
      expect(createRescorer(ngram(0, 1), null).draft(lattice, 8)).toEqual(plain);
    }
  });

  test("alpha 1 ignores the heads' probabilities", () => {
    for (const lattice of lattices(2, 100)) {
      const flat = createLattice(
        lattice.heads,
        lattice.k,
        lattice.tokens,
        new Float32Array(lattice.tokens.length).fill(-Infinity),
      );
      expect(createRescorer(ngram(1, 4), pack).draft(flat, 40)).toEqual(
        createRescorer(ngram(1, 4), pack).draft(lattice, 40),
      );
    }
  });

  test("the history crosses from the committed tokens into the path", () => {
    const random = prng(3);
    let moved = 0;
    for (const lattice of lattices(3, 200)) {
      const committed = Array.from({ length: 5 }, () => Math.floor(random() * vocabSize));
      const rescorer = createRescorer(ngram(0.7, 1), pack);
      let state = EMPTY_STATE;
      for (const token of committed) {
        pack.score(state, token);
        state = pack.next;
      }
      rescorer.commit(committed.slice(0, 3));
      rescorer.commit(committed.slice(3));
      const best = allPaths(lattice, lattice.heads, pack, 0.7, state)[0]!;
      expect([...rescorer.draft(lattice, 8).tokens]).toEqual(
        best.ranks.map((r, i) => lattice.tokens[i * lattice.k + r]),
      );
      if (allPaths(lattice, lattice.heads, pack, 0.7, EMPTY_STATE)[0]!.ranks.join() !== best.ranks.join()) moved++;
    }
    expect(moved).toBeGreaterThan(0);
  });

  test("the tree is the p best paths merged, within the node budget, and well formed", () => {
    for (const lattice of lattices(4, 200)) {
      for (const budget of [0, 1, 3, 7, 63]) {
        const columns = Math.min(budget, lattice.heads);
        const paths = allPaths(lattice, columns, pack, 0.4, EMPTY_STATE).slice(0, 6);
        const tokens = paths.map(({ ranks }) => ranks.map((r, i) => lattice.tokens[i * lattice.k + r]!));
        const tree = createRescorer(ngram(0.4, 6), pack).draft(lattice, budget);
        expect(tree).toEqual(mergePaths(tokens, budget));
        expect(tree.tokens.length).toBeLessThanOrEqual(budget);
        expect(treeFault(tree, vocabSize)).toBeNull();
      }
    }
  });

  test("the same commits and lattice give the same bytes, however the commits were cut", () => {
    const random = prng(6);
    for (const lattice of lattices(5, 50)) {
      const committed = Array.from({ length: 12 }, () => Math.floor(random() * vocabSize));
      const whole = createRescorer(ngram(0.5, 8), pack);
      const single = createRescorer(ngram(0.5, 8), pack);
      whole.commit(committed);
      for (const token of committed) single.commit([token]);
      expect(single.draft(lattice, 40)).toEqual(whole.draft(lattice, 40));
    }
  });

  test("an empty lattice or no budget drafts nothing", () => {
    const rescorer = createRescorer(ngram(0.5, 4), pack);
    expect(rescorer.draft(EMPTY_LATTICE, 8).tokens.length).toBe(0);
    expect(rescorer.draft(lattices(6, 1)[0]!, 0).tokens.length).toBe(0);
  });

  test("alpha above 0 without a pack is refused", () => {
    expect(() => createRescorer(ngram(0.5, 1), null)).toThrow(/language model/);
  });
});
