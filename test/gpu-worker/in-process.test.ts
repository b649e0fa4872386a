import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { createInProcessEngine } from "../../gpu-worker/in-process.ts";
import { ensureBundle } from "../../models/bundle.ts";
import type { Precision } from "../../shared/manifest.ts";
import { codeOf, GREEDY, never } from "../contract/probe.ts";

const prompt = Uint32Array.from({ length: 900 }, (_, i) => 3 + (i % 50));
const SPEC = { model: "tiny", prompt, heads: 0, topK: 1, sampling: GREEDY, logProbs: null, neural: null };

test.each<[Precision, number]>([
  ["int8", 1],
  ["int8", 2],
  ["fp32", 1],
])("closing in the middle of a pass ends it in order, time after time (%s, %i threads)", async (precision, threads) => {
  const complaints = vi.spyOn(console, "error").mockImplementation(() => undefined);
  const bundle = await ensureBundle("tiny", { precision });
  for (let i = 0; i < 4; i += threads) {
    const engine = await createInProcessEngine(bundle, { threads, kvLimitBytes: 16 << 20 });
    const opening = codeOf(engine.open({ ...SPEC, fixed: false, tenant: "" }, never));
    await sleep(3 * i);
    await engine.close();
    expect(["client_closed", "no error"]).toContain(await opening);
  }
  expect(complaints).not.toHaveBeenCalled();
  complaints.mockRestore();
});
