import { describe, expect, test } from "vitest";
import {
  blend,
  HERE,
  PLACEMENTS,
  Placement,
  type PlacementEstimates,
  type PlacementMode,
  placeOf,
} from "../../../shared/decode/placement.ts";

const NONE: PlacementEstimates = { roundTripMs: null, stepMs: null, draftMs: 0, gain: 0 };
const TIMING = { queueMs: 1, modelMs: 6, engineMs: 1 };
const COSTS = { pass: 8, row: 1.5, wanted: 0.5, context: 1, heads: 1 };

/** Tokens per millisecond at the edge relative to those beside the model. */
const ratio = ({ roundTripMs, stepMs, draftMs, gain }: PlacementEstimates) =>
  ((1 + gain) * stepMs!) / (stepMs! + roundTripMs! + draftMs);

describe("where a step is made", () => {
  test("stays where it is while there is nothing to tell by", () => {
    for (const now of ["edge", "gpu"] as const) {
      expect(placeOf(now, NONE, false)).toBe(now);
      expect(placeOf(now, { ...NONE, stepMs: 10 }, false)).toBe(now);
      expect(placeOf(now, { ...NONE, roundTripMs: 10 }, false)).toBe(now);
      expect(placeOf(now, { ...NONE, roundTripMs: 10, stepMs: 0 }, false)).toBe(now);
    }
  });

  test("is the faster place beyond a twentieth of a step, the edge well below it, and changes only for a clear gain", () => {
    for (const stepMs of [1, 5, 10, 40]) {
      for (const roundTripMs of [0, 0.05, 0.5, 1, 2, 5, 10, 40, 80]) {
        for (const draftMs of [0, 0.05, 1, 5]) {
          for (const gain of [0, 0.05, 0.2, 1, 4]) {
            const estimates = { roundTripMs, stepMs, draftMs, gain };
            const [fromEdge, fromGpu] = [placeOf("edge", estimates, false), placeOf("gpu", estimates, false)];
            const label = JSON.stringify(estimates);
            const cost = (roundTripMs + draftMs) / stepMs;
            if (cost <= 0.05) expect(fromEdge, label).toBe("edge");
            if (cost <= 0.02) expect(fromGpu, label).toBe("edge");
            if (cost > 0.05 && ratio(estimates) < 0.97) expect([fromEdge, fromGpu], label).toEqual(["gpu", "gpu"]);
            if (cost > 0.05 && ratio(estimates) > 1.03) expect([fromEdge, fromGpu], label).toEqual(["edge", "edge"]);
            // What has just been chosen is chosen again.
            expect(placeOf(fromEdge, estimates, false), label).toBe(fromEdge);
            expect(placeOf(fromGpu, estimates, false), label).toBe(fromGpu);
          }
        }
      }
    }
  });

  test("does not change to and fro where both are about as fast", () => {
    const even = { roundTripMs: 2, stepMs: 10, draftMs: 0, gain: 0.2 };
    expect(placeOf("edge", even, false)).toBe("edge");
    expect(placeOf("gpu", even, false)).toBe("gpu");
  });

  test("is beside the model wherever nothing is drafted: a round trip would only be waited for", () => {
    for (const now of ["edge", "gpu"] as const) {
      expect(placeOf(now, NONE, true)).toBe("gpu");
      for (const roundTripMs of [0, 0.1, 0.5, 1, 10, 80]) {
        expect(placeOf(now, { roundTripMs, stepMs: 10, draftMs: 0, gain: 1 }, true)).toBe("gpu");
      }
    }
  });
});

describe("a request's placement", () => {
  test.each(["edge", "gpu"] as const)("is %s throughout where that is asked for", (mode) => {
    const placement = new Placement(mode);
    placement.opened(COSTS);
    for (const roundTripMs of [null, 0, 80]) expect(placement.choose(roundTripMs)).toBe(mode);
    expect(placement.chosen).toMatchObject({ place: mode, mode });
  });

  test("of plain decoding is beside the model from the first token on, unless the edge is asked for", () => {
    const beforehand = (mode: PlacementMode) =>
      new Placement(mode, true).beforehand({ roundTripMs: null, costs: null });
    expect(PLACEMENTS.map(beforehand)).toEqual(["edge", "gpu", "gpu"]);
  });

  test.each(["gpu", "auto"] as const)("%s is the edge for a while after the engine could not draft", (mode) => {
    const placement = new Placement(mode);
    placement.opened(COSTS);
    expect(placement.choose(40)).toBe("gpu");
    placement.turnedAway();
    const places = Array.from({ length: 70 }, () => placement.choose(40));
    expect(places.lastIndexOf("edge")).toBe(63);
    expect(places.indexOf("gpu")).toBe(64);
  });

  test("begins at the edge, moves where the wire is long and comes back where it is short", () => {
    const placement = new Placement("auto");
    expect(placement.choose(null)).toBe("edge");
    placement.opened(COSTS);
    expect(placement.chosen.estimates.stepMs).toBe(10);
    expect(placement.choose(40)).toBe("gpu");
    expect(placement.choose(null)).toBe("gpu");
    expect(placement.choose(0.2)).toBe("edge");
  });

  test("learns the time of steps everywhere, and of drafts at the edge alone", () => {
    const placement = new Placement("auto");
    placement.observe({ place: "gpu", timing: TIMING }, 99);
    expect(placement.chosen.estimates).toMatchObject({ stepMs: 8, draftMs: 0 });
    placement.observe({ place: "edge", timing: { ...TIMING, modelMs: 14 } }, 4);
    expect(placement.chosen.estimates).toMatchObject({ stepMs: 9, draftMs: 0.5 });
  });

  test("is one of three, and those that send nothing elsewhere stay here", () => {
    expect(PLACEMENTS).toEqual(["edge", "gpu", "auto"]);
    expect(HERE.choose(1_000)).toBe("edge");
    expect(blend(null, 3)).toBe(3);
    expect(blend(8, 16)).toBe(9);
  });
});
