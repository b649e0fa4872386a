import { expect, test } from "vitest";
import { LatticeValue } from "../../../gpu-worker/engine/lattice-value.ts";

/** One session alone, and one of many: a row costs the same, a token much less. */
const ALONE = { token: 10, row: 0.8, lattice: 1 };
const MANY = { token: 1.3, row: 0.8, lattice: 0.4 };

/** Steps after a lattice and without one in turn, with these outcomes. */
function seen(after: number, without: number, verified: number, from?: LatticeValue): LatticeValue {
  const value = new LatticeValue(16, from);
  for (let i = 0; i < 200; i++) {
    value.made(i % 2 === 0);
    value.drafted({ verified, accepted: i % 2 === 0 ? after : without });
  }
  value.made(true);
  return value;
}

test("what pays for one session need not pay among many", () => {
  const value = seen(0.8, 0.5, 1);
  expect(value.pays(ALONE)).toBe(true);
  expect(value.pays({ ...MANY, lattice: 0.38 })).toBe(true);
  expect(value.pays(MANY)).toBe(false);
});

test("the rows that drafts took are paid for", () => {
  const value = new LatticeValue(16);
  for (let i = 0; i < 200; i++) {
    value.made(i % 2 === 0);
    value.drafted(i % 2 === 0 ? { verified: 3, accepted: 2 } : { verified: 0, accepted: 0 });
  }
  value.made(true);
  // 2 * 1.3 - 3 * 0.8 = 0.2
  expect(value.pays({ ...MANY, lattice: 0.1 })).toBe(true);
  expect(value.pays({ ...MANY, lattice: 0.3 })).toBe(false);
});

test("one that does not pay is tried again, less and less often, and as before once it pays", () => {
  const value = seen(0, 0, 1);
  const tries: number[] = [];
  for (let i = 0; i < 700; i++) {
    const made = value.pays(MANY);
    if (made) tries.push(i);
    value.made(made);
    value.drafted({ verified: 0, accepted: 0 });
  }
  expect(tries).toEqual([32, 97, 226, 483]);
});

test("a new session begins with what all have seen", () => {
  expect(new LatticeValue(16).pays(MANY)).toBe(true);
  expect(new LatticeValue(16, seen(0.1, 0.1, 1)).pays(MANY)).toBe(false);
});
