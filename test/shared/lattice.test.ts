import { expect, test } from "vitest";
import { createLattice, EMPTY_LATTICE, laterRows, narrowLattice, pairQuery } from "../../shared/lattice.ts";

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

test("what is left of a lattice keeps its query", () => {
  const query = { values: Int8Array.of(1, 2), scales: [1, 2] } as const;
  const { heads, k, tokens, logProbs } = lattice;
  const asked = createLattice(heads, k, tokens, logProbs, query);
  expect(lattice.query).toBeNull();
  expect([narrowLattice(asked, 1, 1).query, laterRows(asked, 2).query]).toEqual([query, query]);
});

test("a query has the nearest of 255 values, each half with a step of its own that float32 holds", () => {
  const { values, scales } = pairQuery(Float32Array.of(0.1, -0.254, 0.0611, 0, 8, 25.4, -3.1, 2.9));
  expect([...values]).toEqual([50, -127, 31, 0, 40, 127, -15, 15]);
  expect(scales).toEqual([Math.fround(Math.fround(0.254) / 127), Math.fround(Math.fround(25.4) / 127)]);
});

test("a query of nothing, or next to it, has steps that the wire takes", () => {
  const { values, scales } = pairQuery(Float32Array.of(0, 0, 1e-45, -1e-45));
  expect([...values, ...scales].map((value) => value + 0)).toEqual([0, 0, 0, 0, 1, 1]);
});
