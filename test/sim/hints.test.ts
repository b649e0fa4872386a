import { describe, expect, test } from "vitest";
import type { Block } from "../../shared/decode/block.ts";
import type { DraftingSession, RunEnd } from "../../shared/decode/drafting-session.ts";
import type { Hint } from "../../shared/decode/hints.ts";
import { Loop } from "../../shared/decode/loop.ts";
import { Placement } from "../../shared/decode/placement.ts";
import { decode } from "../../shared/decode/run.ts";
import type { RunRequest } from "../../shared/decode/run-request.ts";
import { chain, treeFault, treeOf } from "../../shared/draft-tree.ts";
import type { StepEngine } from "../../shared/engine.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";
import { createFakeEngine } from "../fakes/fake-engine.ts";
import { Random } from "../helpers/random.ts";
import { randomCalibration } from "../rescore/helpers.ts";
import { randomScene, type Scene } from "./scene.ts";

/** Hints change drafts and nothing else, whatever they say and whenever they come. */

const { signal } = new AbortController();

/** Any hint: right, wrong, late, early, or such as no honest edge would send. */
function randomHint(random: Random, text: readonly number[], length: number, vocabSize: number): Hint {
  const anchor = random.pick([length, length - random.int(0, 5), random.int(0, 2 * length + 2)]);
  const token = () => random.pick([random.int(0, vocabSize - 1), random.int(0, 2 * vocabSize), 2 ** 32 - 1]);
  const kind = random.pick(["right", "right", "wrong", "hostile"] as const);
  if (kind === "right") return { anchor, tree: chain(text.slice(anchor, anchor + random.int(0, 40))) };
  const nodes = random.int(0, 30);
  const tokens = Array.from({ length: nodes }, () => (kind === "wrong" ? random.int(0, vocabSize - 1) : token()));
  const parents = tokens.map((_, i) => random.int(-1, kind === "wrong" ? i - 1 : nodes));
  const chances = Uint8Array.from({ length: random.pick([nodes, nodes, 3]) }, () => random.int(0, 255));
  return { anchor, tree: treeOf(tokens, parents, chances.sort().reverse()) };
}

/** The text of a loop that is given `hints` before every step, and how many steps it takes. */
async function drafted({ engine, request, prompt, plain }: Scene, hints: (length: number) => readonly Hint[]) {
  const session = await engine.open(request.spec, signal);
  const loop = new Loop(session, request);
  const text: number[] = [];
  let steps = 0;
  for (let block = loop.first(); ; steps++) {
    text.push(...block.committed.map(({ token }) => token));
    if (block.finish !== null) break;
    for (const hint of hints(prompt.length + text.length)) loop.hint(hint);
    const draft = loop.draft();
    expect(treeFault(draft, engine.bundle.vocabSize)).toBeNull();
    expect(draft.tokens.length).toBeLessThanOrEqual(request.maxNodes);
    block = await loop.step(draft, signal);
  }
  session.close();
  expect(text).toEqual(plain);
  return steps;
}

test.each(Array.from({ length: 20 }, (_, i) => i))("random hints change no token (seeds %i00-99)", async (hundred) => {
  for (let seed = hundred * 100; seed < (hundred + 1) * 100; seed++) {
    const scene = randomScene(seed);
    const random = new Random(seed + 7);
    const text = [...scene.prompt, ...scene.plain];
    const { vocabSize } = scene.engine.bundle;
    await drafted(scene, (length) =>
      Array.from({ length: random.int(0, 3) }, () => randomHint(random, text, length, vocabSize)),
    );
  }
});

test("right hints save steps, less so the later they come", async () => {
  const steps = new Map<number, number>();
  for (let seed = 0; seed < 300; seed++) {
    const hopeless = randomScene(seed);
    if (hopeless.request.rescorer.calibrated !== true || hopeless.request.maxNodes < 8) continue;
    const text = [...hopeless.prompt, ...hopeless.plain];
    for (const late of [Number.POSITIVE_INFINITY, 8, 2, 0]) {
      // Rescorers keep a state: each run has a scene of its own.
      const made = await drafted(randomScene(seed), (length) => {
        const anchor = length - late;
        return anchor < 1 ? [] : [{ anchor, tree: chain(text.slice(anchor, anchor + 16)) }];
      });
      steps.set(late, (steps.get(late) ?? 0) + made);
    }
  }
  const [never, later, late, atOnce] = [...steps.values()];
  expect(atOnce!).toBeLessThan(late!);
  expect(late!).toBeLessThan(later!);
  expect(later!).toBeLessThan(never!);
});

/** An engine that drafts itself; hints reach it `lag` blocks late, `null` standing for never. */
function draftingEngine(engine: StepEngine, rescorer: () => Rescorer, lag: number | null): StepEngine {
  return {
    async open(spec, openSignal) {
      const session = await engine.open(spec, openSignal);
      const waiting: Hint[][] = [];
      const far: DraftingSession = {
        bundle: session.bundle,
        cachedTokens: session.cachedTokens,
        opened: session.opened,
        roundTripMs: 1_000,
        running: false,
        load: session.opened.load,
        step: (index, draft, stepSignal) => session.step(index, draft, stepSignal),
        close: () => session.close(),
        pause: () => undefined,
        hint: (hint) => void waiting.at(-1)?.push(hint),
        async *run(request: RunRequest): AsyncGenerator<Block, RunEnd | null> {
          const text = { prompt: [...spec.prompt, session.opened.bonus], heads: spec.heads };
          const loop = new Loop(session, { ...request, spec: text, rescorer: rescorer() });
          for (;;) {
            for (const hint of lag === null ? [] : (waiting.at(-1 - lag) ?? [])) loop.hint(hint);
            const block = await loop.step(loop.draft(), signal);
            waiting.push([]);
            yield block;
            if (block.finish !== null) return null;
          }
        },
      };
      return far;
    },
  };
}

describe("an edge that remembers the text, and a gpu-worker that drafts without", () => {
  const calibration = randomCalibration(() => 0.5);
  const spec = { type: "tree", order: 2, alpha: 0, prompt: true } as const;
  const rescorer = () => createRescorer(spec, null, calibration);
  const run = { rescorer: spec, pack: null, maxNodes: 63, autoNodes: false, guided: false, verified: false };

  async function tell(seed: number, lag: number | null) {
    const engine = createFakeEngine({ seed, skill: 0, memory: 3 });
    const prompt = [1, 2, 3];
    const limits = { maxTokens: 60, eosTokens: [] };
    const plain: number[] = [];
    while (plain.length < limits.maxTokens) plain.push(engine.next([...prompt, ...plain]));
    const remembering = rescorer();
    remembering.recall?.([[...prompt, ...plain]]);
    const placement = new Placement("gpu");
    const events = await Array.fromAsync(
      decode(draftingEngine(engine, rescorer, lag), {
        spec: {
          model: engine.bundle.model,
          prompt: Uint32Array.from(prompt),
          heads: 0,
          topK: 1,
          sampling: { temperature: 0, topP: 1, seed: 0 },
          logProbs: null,
          neural: null,
          fixed: true,
          tenant: "",
        },
        limits,
        rescorer: remembering,
        maxNodes: 63,
        autoNodes: false,
        tokenizerHash: null,
        elsewhere: { run: { ...run, limits }, placement, hints: true },
        signal,
        now: () => 0,
      }),
    );
    expect(events.flatMap(({ committed }) => committed.map(({ token }) => token))).toEqual(plain);
    return { steps: events.length, gain: placement.chosen.estimates.gain };
  }

  test("make the same text with hints in time, late and never, in fewer steps the earlier they come", async () => {
    const steps = { inTime: 0, late: 0, never: 0 };
    let gain = 0;
    for (let seed = 0; seed < 40; seed++) {
      steps.inTime += (await tell(seed, 0)).steps;
      steps.late += (await tell(seed, 3)).steps;
      const unheard = await tell(seed, null);
      steps.never += unheard.steps;
      gain += unheard.gain / 40;
    }
    expect(steps.inTime).toBeLessThan(steps.late);
    expect(steps.late).toBeLessThan(steps.never);
    // What the edge alone knows is worth going there for, and it notices.
    expect(gain).toBeGreaterThan(0);
  });
});
