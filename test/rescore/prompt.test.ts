import { describe, expect, test } from "vitest";
import { CERTAIN, depths, treeFault } from "../../shared/draft-tree.ts";
import { createLattice } from "../../shared/lattice.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import { createRescorer, type RescorerSpec } from "../../shared/rescore/index.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { Random } from "../helpers/random.ts";
import { HASH, toyModel } from "../ngram/helpers.ts";
import { randomLattice } from "./helpers.ts";

const vocabSize = 19;
const pack = loadPack(writePack(toyModel({ seed: 4, order: 4, vocabSize, length: 300 }).table, HASH));
const ngram = (alpha: number, pBest: number, prompt: boolean): RescorerSpec => {
  return { type: "ngram", order: 4, alpha, pBest, prompt };
};

/** Every head is sure of the same wrong token. */
const sure = createLattice(2, 2, Uint32Array.of(17, 18, 17, 18), Float32Array.of(-0.1, -3, -0.1, -3));

function draftAfter(spec: RescorerSpec, prompt: readonly number[], answer: readonly number[], nodes = 63) {
  const rescorer = createRescorer(spec, pack);
  rescorer.commit(prompt);
  for (const token of answer) rescorer.commit([token]);
  return rescorer.draft(sure, nodes, { depth: 40, floor: 0 });
}

describe("ngram with the prompt", () => {
  const text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

  test("copies on where the answer has been copying, beyond the heads too", () => {
    const tree = draftAfter(ngram(0.3, 1, true), [...text, 0], [1, 2, 3, 4, 5, 6]);
    expect([...tree.tokens.subarray(0, 6)]).toEqual([7, 8, 9, 10, 11, 12]);
    expect(draftAfter(ngram(0.3, 1, false), [...text, 0], [1, 2, 3, 4, 5, 6]).tokens).toHaveLength(2);
  });

  test("trusts the heads where copies have been wrong", () => {
    // Each of the answer's tokens occurred, followed by another one.
    const wrong = Array.from({ length: 10 }, () => [1, 5, 9, 3, 11, 7]).flat();
    const tree = draftAfter(ngram(0, 1, true), [...text, 0], [...wrong.slice(0, 6), 2]);
    expect(tree.tokens[0]).toBe(17);
  });

  test("the copy continues a path that begins with a head's token", () => {
    const lattice = createLattice(1, 1, Uint32Array.of(1), Float32Array.of(-0.1));
    const rescorer = createRescorer(ngram(0, 1, true), null);
    rescorer.commit([...text, 0, 15]);
    const tree = rescorer.draft(lattice, 5, { depth: 10, floor: 0 });
    expect([...tree.tokens]).toEqual([1, 2, 3, 4, 5]);
  });

  test("is a well-formed tree within its bounds, the best path first", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = new Random(seed);
      const size = { heads: random.int(1, 8), k: random.int(1, 16), vocabSize, step: 0.5, impossible: 0.1 };
      const lattice = randomLattice(() => random.unit(), { ...size, repeats: random.chance(0.3) });
      const pBest = random.int(1, 16);
      const rescorer = createRescorer(ngram(random.pick([0, 0.5, 1]), pBest, true), pack);
      for (let i = 0; i < 5; i++) rescorer.commit(Array.from({ length: 6 }, () => random.int(0, 5)));
      const nodes = random.int(0, 63);
      const depth = random.int(1, 20);
      const tree = rescorer.draft(lattice, nodes, { depth, floor: 0 });
      expect(treeFault(tree, vocabSize), `seed ${seed}`).toBeNull();
      expect(tree.tokens.length).toBeLessThanOrEqual(nodes);
      expect(Math.max(0, ...depths(tree))).toBeLessThanOrEqual(depth);
      const leaves = tree.tokens.length - new Set([...tree.parents].filter((parent) => parent >= 0)).size;
      expect(leaves).toBeLessThanOrEqual(pBest);
      if (pBest === 1) expect([...tree.parents]).toEqual(Array.from(tree.tokens, (_, i) => i - 1));
      const fewer = rescorer.draft(lattice, nodes >> 1, { depth, floor: 0 });
      expect(fewer.tokens).toEqual(tree.tokens.slice(0, nodes >> 1));
      // It does not know how likely its nodes are: whoever asks for them decides.
      expect([...tree.chances].every((chance) => chance === CERTAIN)).toBe(true);
      expect(rescorer.draft(lattice, nodes, { depth, floor: 0.9 })).toEqual(tree);
    }
  });

  test("left out or false changes nothing", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = new Random(seed);
      const lattice = randomLattice(() => random.unit(), { heads: 4, k: 5, vocabSize, step: 0.5 });
      const without = createRescorer({ type: "ngram", order: 4, alpha: 0.4, pBest: 5 }, pack);
      const off = createRescorer(ngram(0.4, 5, false), pack);
      for (const rescorer of [without, off]) rescorer.commit([1, 2, 3, 1, 2]);
      expect(off.draft(lattice, 40, { depth: 20, floor: 0 })).toEqual(without.draft(lattice, 40));
    }
  });
});

describe("a prediction", () => {
  const prediction = [1, 2, 3, 4, 5, 6, 7, 8];
  const prompt = [9, 9, 10, 11, 12];
  const draftOf = (prompt: readonly number[], answer: readonly number[]) => {
    const rescorer = createRescorer(ngram(0, 1, true), null, null, prediction);
    rescorer.commit(prompt);
    for (const token of answer) rescorer.commit([token]);
    return [...rescorer.draft(sure, 63, { depth: 40, floor: 0 }).tokens];
  };

  test("is copied from its beginning, and further where the answer followed it", () => {
    expect(draftOf(prompt, [1, 2, 3, 4]).slice(0, 4)).toEqual([5, 6, 7, 8]);
    const start = createRescorer(ngram(0, 1, true), null, null, prediction);
    start.commit(prompt);
    const flat = createLattice(1, 1, Uint32Array.of(1), Float32Array.of(-0.1));
    expect([...start.draft(flat, 5, { depth: 10, floor: 0 }).tokens]).toEqual([1, 2, 3, 4, 5]);
  });

  test("comes before what the prompt has, which goes on as if it had not been read", () => {
    const both = [3, 17, ...prompt, 3, 18, ...prompt];
    expect(draftOf(both, [1, 2, 3, 4, 5, 1, 2, 3])[0]).toBe(4);
    expect(draftOf([20, 21, 22, 9, 20], [21]).slice(0, 1)).toEqual([22]);
  });
});
