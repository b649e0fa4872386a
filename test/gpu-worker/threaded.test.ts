import { expect, test } from "vitest";
import { createThreadEngine } from "../../gpu-worker/threaded.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { EMPTY_TREE } from "../../shared/draft-tree.ts";
import { codeOf, GREEDY, never } from "../contract/probe.ts";

const QUIET = { threads: 1, spinning: false };

function specOf(length: number) {
  const prompt = Uint32Array.from({ length }, (_, i) => 3 + (i % 50));
  return { model: "tiny", prompt, heads: 0, topK: 1, sampling: GREEDY, logProbs: null, neural: null };
}

test("a session for which there is no memory is overloaded; those that run go on", async () => {
  const engine = await createThreadEngine(await ensureBundle("tiny"), { ...QUIET, kvLimitBytes: 300_000 });
  const first = await engine.open(specOf(4), never);
  const codes = await Promise.all([1, 2, 3].map(() => codeOf(engine.open(specOf(4), never))));
  expect(codes).toContain("overloaded");
  expect((await first.step(0, EMPTY_TREE, never)).accepted).toEqual([]);
  await engine.close();
});

test("closing in the middle of a call ends the thread in order, time after time", { timeout: 60_000 }, async () => {
  const bundle = await ensureBundle("tiny");
  for (let i = 0; i < 5; i++) {
    const engine = await createThreadEngine(bundle, QUIET);
    const opening = codeOf(engine.open(specOf(900), never));
    await new Promise((resolve) => setTimeout(resolve, 5 * i));
    await engine.close();
    expect(["client_closed", "engine_unavailable", "no error"]).toContain(await opening);
  }
});
