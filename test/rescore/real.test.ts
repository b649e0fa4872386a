import { expect, test } from "vitest";
import { exp, ln } from "../../shared/rescore/real.ts";

test("exp agrees with the engine's", () => {
  for (let x = -60; x < 60; x += 0.0137) expect(Math.abs(exp(x) / Math.exp(x) - 1)).toBeLessThan(1e-10);
  expect([exp(0), exp(-1e9), exp(Number.NEGATIVE_INFINITY), exp(Number.NaN)]).toEqual([1, 0, 0, 0]);
  expect(exp(1e9)).toBe(exp(700));
});

test("ln agrees with the engine's", () => {
  for (let x = 1e-9; x < 1e9; x *= 1.0137) expect(Math.abs(ln(x) - Math.log(x))).toBeLessThan(1e-8);
  expect(ln(1)).toBe(0);
  expect([ln(0), ln(-3), ln(Number.NaN)]).toEqual([ln(1e-30), ln(1e-30), ln(1e-30)]);
});
