import { expect, test } from "vitest";
import { CostModel, type PassWork, passMs } from "../../../gpu-worker/engine/costs.ts";
import type { PassCosts } from "../../../shared/engine.ts";
import { Random } from "../../helpers/random.ts";

const START: PassCosts = { pass: 6, row: 0.3, wanted: 0.1, context: 0.3, heads: 0.5 };

function randomWork(random: Random): PassWork {
  const prefill = random.chance(0.3) ? random.int(1, 200) : 0;
  const steps = random.int(prefill > 0 ? 0 : 1, 24);
  const nodes = random.int(0, steps * 6);
  return {
    rows: prefill + steps + nodes,
    wanted: steps + nodes,
    context: (prefill + steps + nodes) * random.unit() * 2,
    heads: random.int(0, steps),
  };
}

function learned(truth: PassCosts, noise: (random: Random) => number, passes = 1500): CostModel {
  const random = new Random(7);
  const model = new CostModel(START);
  for (let i = 0; i < passes; i++) {
    const work = randomWork(random);
    model.observe(work, passMs(truth, work) * noise(random));
  }
  return model;
}

/** Largest relative error over passes of many kinds. */
function worst(model: CostModel, truth: PassCosts): number {
  const random = new Random(99);
  const errors = Array.from({ length: 200 }, () => {
    const work = randomWork(random);
    return Math.abs(passMs(model.costs, work) / passMs(truth, work) - 1);
  });
  return Math.max(...errors);
}

test("the start is what it says until passes say otherwise", () => {
  expect(new CostModel(START).costs).toEqual(START);
});

test("a machine of another speed is told from the first passes", () => {
  const slow = { pass: 18, row: 0.9, wanted: 0.3, context: 0.9, heads: 1.5 };
  expect(
    worst(
      learned(slow, () => 1, 12),
      slow,
    ),
  ).toBeLessThan(0.01);
});

test("a machine of another kind is learned: rows nearly free, contexts dear", () => {
  const other = { pass: 4, row: 0.02, wanted: 0.02, context: 1.5, heads: 1 };
  expect(
    worst(
      learned(other, (random) => 0.95 + 0.1 * random.unit()),
      other,
    ),
  ).toBeLessThan(0.25);
});

test("passes that others slow down, a quarter of them, hardly count", () => {
  const busy = (random: Random) => (random.chance(0.25) ? 1 + 6 * random.unit() : 0.97 + 0.06 * random.unit());
  expect(worst(learned(START, busy), START)).toBeLessThan(0.15);
});

test("a machine that becomes slower for good is believed in time", () => {
  const random = new Random(5);
  const model = learned(START, () => 1, 300);
  const slower = { pass: 12, row: 0.6, wanted: 0.2, context: 0.6, heads: 1 };
  for (let i = 0; i < 6000; i++) {
    const work = randomWork(random);
    model.observe(work, passMs(slower, work));
  }
  expect(worst(model, slower)).toBeLessThan(0.1);
});

test("plain steps alone, for hours, leave what they say nothing of as it was", () => {
  const random = new Random(6);
  const model = new CostModel(START);
  for (let i = 0; i < 20_000; i++) {
    const work = { rows: 1, wanted: 1, context: 0.2, heads: 0 };
    model.observe(work, passMs(START, work) * (0.95 + 0.1 * random.unit()));
  }
  const { row, heads } = model.costs;
  expect(heads).toBeCloseTo(START.heads, 1);
  expect(row / START.row).toBeGreaterThan(0.5);
  expect(row / START.row).toBeLessThan(2);
});

test("costs never fall below nothing, whatever is observed", () => {
  const random = new Random(8);
  const model = new CostModel(START);
  for (let i = 0; i < 3000; i++) model.observe(randomWork(random), random.chance(0.1) ? 0 : random.unit() * 200);
  for (const cost of Object.values(model.costs)) expect(cost).toBeGreaterThanOrEqual(0);
  expect(model.costs.pass).toBeGreaterThan(0);
});
