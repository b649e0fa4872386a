import { describe, expect, test } from "vitest";
import { parseMethod } from "../../bench/eval/methods.ts";
import { growStaticTree, rankShares, staticTreeOfHeads, tokenRecycling } from "../../bench/eval/static-tree.ts";
import { createLattice } from "../../shared/lattice.ts";
import { TOY_MANIFEST } from "./toy-engine.ts";

const NO_GAPS = (tokens: readonly number[]) => ({
  k: 1,
  tokens: Uint32Array.from(tokens),
  gaps: new Uint8Array(tokens.length),
});

/** Two rows of three candidates. */
const lattice = (...tokens: number[]) => createLattice(2, 3, Uint32Array.from(tokens), new Float32Array(6));

describe("shares of ranks", () => {
  // After output token i the rows are about tokens i + 1 and i + 2.
  const generation = {
    id: "g",
    category: "c",
    turn: 0,
    prompt: Uint32Array.from([9, 5]),
    output: Uint32Array.from([1, 2, 1, 2]),
    lattices: [
      lattice(2, 7, 8, 8, 1, 7),
      lattice(7, 1, 8, 2, 7, 8),
      lattice(2, 7, 8, 0, 0, 0),
      lattice(0, 0, 0, 0, 0, 0),
    ],
    runnersUp: NO_GAPS([3, 3, 4, 3]),
  };

  test("count where the model's own token stood in each row", () => {
    const { heads } = rankShares([generation]);
    expect(heads).toEqual([
      [2 / 3, 1 / 3, 0],
      [1 / 2, 1 / 2, 0],
    ]);
  });

  test("count where it stood among what had followed the same token", () => {
    // Only the second 2, after 1, had come before; the second 1 follows a 2 that nothing had followed.
    expect(rankShares([generation]).recycled.slice(0, 2)).toEqual([1 / 4, 0]);
  });
});

describe("a static tree", () => {
  const shares = [
    [0.6, 0.3, 0.1],
    [0.5, 0.05],
  ];

  test("takes the likeliest nodes, a node's chance being the product of its shares", () => {
    // 0.6; then 0.3 twice, the one met first; 0.15; 0.1.
    expect(growStaticTree(shares, 5)).toEqual({
      parents: [-1, -1, 0, 1, -1],
      depths: [1, 1, 2, 2, 1],
      ranks: [0, 1, 0, 0, 2],
    });
    expect(growStaticTree(shares, 63).parents).toHaveLength(9);
  });

  test("is filled with the lattice's tokens, fewer where these are fewer", () => {
    const rescorer = staticTreeOfHeads(growStaticTree(shares, 5));
    const draft = rescorer.draft(lattice(11, 12, 13, 21, 22, 23), 63);
    expect([...draft.tokens]).toEqual([11, 12, 21, 21, 13]);
    expect([...draft.parents]).toEqual([-1, -1, 0, 1, -1]);
    expect([...rescorer.draft(lattice(11, 12, 13, 21, 22, 23), 2).tokens]).toEqual([11, 12]);
    const short = createLattice(1, 2, Uint32Array.from([11, 12]), new Float32Array(2));
    expect([...rescorer.draft(short, 63).tokens]).toEqual([11, 12]);
  });

  test("is filled with what followed the same words", () => {
    const rescorer = tokenRecycling(growStaticTree([[0.6, 0.3], [0.5]], 3));
    rescorer.commit([1]);
    rescorer.commit([2, 3, 1], NO_GAPS([7, 8, 9]));
    // 1 was followed by 2 (7 was next best), 2 by 3 (8).
    const draft = rescorer.draft(createLattice(1, 1, Uint32Array.from([0]), new Float32Array(1)), 63, {
      depth: 9,
      floor: 0,
    });
    expect([...draft.tokens]).toEqual([2, 7, 3]);
    expect([...draft.parents]).toEqual([-1, -1, 0]);
  });

  test("is a method once shares are known", () => {
    const options = { alpha: null, pack: null, heads: null, topK: null };
    const rankShares = { heads: shares, recycled: [0.3] };
    expect(parseMethod("medusa-4", TOY_MANIFEST, { ...options, rankShares })).toMatchObject({ maxNodes: 4, heads: 4 });
    expect(parseMethod("recycling-4", TOY_MANIFEST, { ...options, rankShares })).toMatchObject({ heads: 0 });
    expect(() => parseMethod("medusa-4", TOY_MANIFEST, options)).toThrow("npm run tune");
    expect(() => parseMethod("medusa-64", TOY_MANIFEST, { ...options, rankShares })).toThrow("nodes");
    expect(() => parseMethod("medusa-4-neural", TOY_MANIFEST, { ...options, rankShares })).toThrow("local rescorer");
  });
});
