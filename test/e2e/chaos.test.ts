import { expect, test } from "vitest";
import { chaos } from "../chaos/chaos.ts";
import { startService } from "./service.ts";

/** A short run of what `npm run chaos` does. */
test("gpu-workers killed, stopped and told to end while streams run cost no character and no client sees an error", async () => {
  const vars = { MAX_STREAMS: "16", MAX_STREAMS_TOTAL: "16" };
  const service = await startService({ engine: "tiny", workers: 3, vars });
  try {
    const signals = ["SIGKILL", "SIGSTOP", "SIGTERM"] as const;
    const log = () => undefined;
    const report = await chaos(service, { seed: 1, streams: 24, concurrency: 8, everyMs: 1_000, signals, log });
    expect(report.errors).toEqual([]);
    expect(report.wrong).toBe(0);
    expect(Object.values(report.signals).reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(2);
  } finally {
    await service.close();
  }
}, 120_000);
