import { describe, expect, test } from "vitest";
import { STREAMS, simulateFleet } from "./fleet.ts";

/** `npm run sim` runs five times as many, or one seed again. */
const SEEDS = Array.from({ length: 100 }, (_, i) => i + 1);

describe("a simulated fleet", () => {
  test("gives every stream its plain text, whatever becomes of gpu-workers and frames, and leaves nothing open", async () => {
    const counts: Record<string, number> = {};
    for (const seed of SEEDS) {
      const report = await simulateFleet(seed);
      expect(report.faults, `npm run sim -- --seed ${seed}`).toEqual([]);
      expect(report.streams).toBe(STREAMS);
      for (const [what, count] of Object.entries(report.counts)) counts[what] = (counts[what] ?? 0) + count;
    }
    // The property would hold where nothing ever happens, too.
    const least = { kill: 20, hang: 20, drain: 20, delay: 20, copies: 200, ends: 1, "came again": 100 };
    for (const [what, count] of Object.entries({ ...least, "edge blocks": 1000, "gpu blocks": 1000 })) {
      expect(counts[what], what).toBeGreaterThan(count);
    }
  }, 120_000);

  test("runs the same again from its seed, and gives the timers back", async () => {
    const { setTimeout: timer, performance } = globalThis;
    const { now } = performance;
    expect(await simulateFleet(7)).toEqual(await simulateFleet(7));
    expect(await simulateFleet(7)).not.toEqual(await simulateFleet(8));
    expect(setTimeout).toBe(timer);
    expect(performance.now).toBe(now);
  });
});
