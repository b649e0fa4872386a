import { expect, test } from "vitest";
import { createLattice, EMPTY_LATTICE, laterRows, narrowLattice } from "../../shared/lattice.ts";

const lattice = createLattice(3, 2, Uint32Array.of(1, 2, 3, 4, 5, 6), Float32Array.of(-1, -2, -3, -4, -5, -6));

test("a lattice whose arrays do not fit its shape is a programmer error", () => {
  expect(() => createLattice(2, 2, new Uint32Array(4), new Float32Array(3))).toThrow(/lattice of 2 x 2/);
});

test("narrowing keeps the first rows and the likeliest columns, tokens beside their log-probabilities", () => {
  const narrow = narrowLattice(lattice, 2, 1);
  expect([narrow.heads, narrow.k]).toEqual([2, 1]);
  expect([...narrow.tokens]).toEqual([1, 3]);
  expect([...narrow.logProbs]).toEqual([-1, -3]);
});

test("narrowing to more than there is changes nothing", () => {
  expect(narrowLattice(lattice, 9, 9)).toBe(lattice);
  expect(narrowLattice(EMPTY_LATTICE, 4, 4)).toBe(EMPTY_LATTICE);
});

test("narrowing to no rows leaves no candidates", () => {
  expect(narrowLattice(lattice, 0, 2).tokens).toHaveLength(0);
});

test("rows left out take their gates with them", () => {
  const { heads, k, tokens, logProbs } = lattice;
  const gated = createLattice(heads, k, tokens, logProbs, null, Float32Array.of(0.25, 0.5, 0.75));
  expect([...narrowLattice(gated, 2, 1).gates!]).toEqual([0.25, 0.5]);
  expect([...laterRows(gated, 1).gates!]).toEqual([0.5, 0.75]);
  expect(laterRows(lattice, 1).gates).toBeNull();
});
