import { expect, test } from "vitest";
import { Trust } from "../../../gpu-worker/engine/trust.ts";

/** Drafts of four nodes at this chance, of which so many are accepted. */
function after(drafts: number, chance: number, accepted: number, from?: Trust): Trust {
  const trust = new Trust(64, from);
  const nodes = Array.from({ length: accepted }, (_, node) => node);
  for (let i = 0; i < drafts; i++) trust.observe({ chances: new Uint8Array(4).fill(chance) }, nodes);
  return trust;
}

test("chances that hold are trusted, those that do not less, by what came of them", () => {
  expect(new Trust(64).factor).toBe(1);
  expect(after(500, 127.5, 2).factor).toBeCloseTo(1, 1);
  expect(after(500, 204, 2).factor).toBeCloseTo(2 / 3.2, 1);
  expect(after(500, 51, 2).factor).toBeGreaterThan(2);
});

test("steps without drafts do not make it forget", () => {
  const trust = after(100, 204, 2);
  const before = trust.factor;
  for (let i = 0; i < 1000; i++) trust.observe({ chances: new Uint8Array(0) }, []);
  expect(trust.factor).toBe(before);
});

test("nodes that insist promise nothing and keep nothing", () => {
  expect(after(100, 255, 0).factor).toBe(1);
  expect(after(100, 255, 4).factor).toBe(1);
});

test("another begins with it, within bounds", () => {
  const liar = after(500, 250, 0);
  expect(liar.factor).toBeLessThan(0.2);
  expect(new Trust(64, liar).factor).toBeCloseTo(0.6, 6);
  expect(new Trust(64, after(500, 51, 3)).factor).toBe(1);
});
