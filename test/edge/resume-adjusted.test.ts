import { expect, test } from "vitest";
import { PooledEngine, sleep } from "../../edge/fleet/pooled-engine.ts";
import { EMPTY_TREE } from "../../shared/draft-tree.ts";
import type { Adjustments, OpenSpec, StepEngine } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { TOY_SPEC, toyEngine } from "../gpu-worker/toy-model.ts";

/** Penalties count the answer, which a session that goes on elsewhere sends as part of its prompt. */

const adjust: Adjustments = {
  biasTokens: Uint32Array.of(3),
  biases: Float32Array.of(1),
  repetition: 1.3,
  frequency: 0.5,
  presence: 0.4,
};
const never = new AbortController().signal;

/** An engine whose sessions are lost at the step of that number. */
function losing(at: number, specs: OpenSpec[]): StepEngine {
  const { engine } = toyEngine();
  return {
    async open(spec, signal) {
      specs.push(spec);
      const session = await engine.open(spec, signal);
      return {
        bundle: session.bundle,
        cachedTokens: session.cachedTokens,
        opened: session.opened,
        close: () => session.close(),
        step: async (index, draft, cancel) => {
          if (index === at) throw new StepError("engine_lost", "lost");
          return await session.step(index, draft, cancel);
        },
      };
    },
  };
}

test("a session that loses its engine twice goes on with the same counts", async () => {
  const specs: OpenSpec[] = [];
  const textOf = async (lostAt: number) => {
    const pool = new PooledEngine({
      workers: async () => ["a", "b"],
      engineAt: () => losing(lostAt, specs),
      resumeMs: 1_000,
      now: () => 0,
      random: () => 0.5,
      sleep,
    });
    const sampling = { temperature: 1, topP: 1, seed: 3, adjust };
    const session = await pool.open({ ...TOY_SPEC, sampling }, never);
    const text = [session.opened.bonus];
    for (let index = 0; index < 30; index++) text.push((await session.step(index, EMPTY_TREE, never)).bonus);
    session.close();
    return text;
  };
  const whole = await textOf(Infinity);
  const seen = specs.length;
  expect(await textOf(12)).toEqual(whole);
  expect(specs.slice(seen).map(({ prompt, answered = 0 }) => [prompt.length - answered, answered])).toEqual([
    [3, 0],
    [3, 13],
    [3, 26],
  ]);
});
