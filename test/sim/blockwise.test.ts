import { describe, expect, test } from "vitest";
import { Transcript } from "../../edge/text/transcript.ts";
import { decode, type StepEvent } from "../../shared/decode/run.ts";
import { CERTAIN, type DraftTree, depths, EMPTY_TREE, treeFault } from "../../shared/draft-tree.ts";
import type { StepEngine } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { Random } from "../helpers/random.ts";
import { randomScene, type Scene, thrifty, watched } from "./scene.ts";

const NEVER = new AbortController().signal;
const SEEDS = Array.from({ length: 400 }, (_, i) => i + 1);

async function run(scene: Scene, engine: StepEngine = scene.engine, signal: AbortSignal = NEVER) {
  const events: StepEvent[] = [];
  try {
    for await (const event of decode(engine, { ...scene.request, signal })) events.push(event);
    return { events, error: null };
  } catch (error) {
    return { events, error };
  }
}

const tokensOf = (events: readonly StepEvent[]) => events.flatMap((e) => e.committed.map(({ token }) => token));

describe("blockwise decoding", () => {
  test("commits what plain decoding does, greedy or sampled, whatever is drafted", async () => {
    let saved = 0;
    for (const seed of SEEDS) {
      const scene = randomScene(seed);
      const { events, error } = await run(scene);
      expect(error, `seed ${seed}`).toBeNull();
      expect(tokensOf(events), `seed ${seed}`).toEqual(scene.plain);
      const stopped = scene.request.limits.eosTokens.includes(scene.plain.at(-1)!);
      expect(events.at(-1)!.finish).toBe(stopped ? "stop" : "length");
      expect(events.slice(0, -1).every(({ finish }) => finish === null)).toBe(true);
      expect(events.every(({ committed }) => committed.length > 0)).toBe(true);
      expect(scene.engine.openSessions).toBe(0);
      saved += scene.plain.length - events.length;
    }
    // The property would hold for a drafter that never drafts, too.
    expect(saved).toBeGreaterThan(500);
  });

  test("commits the same whatever the engine leaves out, and is told what that was", async () => {
    let saved = 0;
    let unverified = 0;
    for (const seed of SEEDS) {
      const scene = randomScene(seed);
      const random = new Random(seed);
      const savings = Array.from({ length: 70 }, () => ({
        threshold: random.pick([0, CERTAIN, CERTAIN + 1, random.int(0, CERTAIN)]),
        lattice: random.chance(0.2),
      }));
      const drafts: DraftTree[] = [EMPTY_TREE];
      const engine = watched(
        thrifty(scene.engine, (call) => savings[call]!),
        async (_call, draft) => void (draft === null || drafts.push(draft)),
      );
      const { events, error } = await run(scene, engine);
      expect(error, `seed ${seed}`).toBeNull();
      expect(tokensOf(events), `seed ${seed}`).toEqual(scene.plain);
      for (const [call, { verified, drafted, committed }] of events.entries()) {
        const threshold = scene.request.autoNodes ? savings[call]!.threshold : 0;
        const { tree, accepted } = verified!;
        const likely = drafts[call]!.chances.filter((chance) => chance >= threshold);
        expect([...tree.chances], `seed ${seed}`).toEqual([...likely]);
        expect(drafted).toBe(likely.length);
        const kept = committed.filter(({ kind }) => kind === "accepted").map(({ token }) => token);
        expect(accepted.map((node) => tree.tokens[node]).slice(0, kept.length)).toEqual(kept);
        unverified += drafts[call]!.tokens.length - likely.length;
      }
      saved += scene.request.autoNodes ? scene.plain.length - events.length : 0;
    }
    expect(saved).toBeGreaterThan(100);
    expect(unverified).toBeGreaterThan(1000);
  });

  test("drafts only well-formed trees within the request's bounds", async () => {
    for (const seed of SEEDS) {
      const scene = randomScene(seed);
      const { maxNodes, spec } = scene.request;
      const engine = watched(scene.engine, async (_call, draft) => {
        if (draft === null) return;
        expect(treeFault(draft, scene.engine.bundle.vocabSize), `seed ${seed}`).toBeNull();
        expect(draft.tokens.length).toBeLessThanOrEqual(maxNodes);
        const deepest = scene.copies ? scene.request.limits.maxTokens - 1 : spec.heads;
        expect(Math.max(0, ...depths(draft))).toBeLessThanOrEqual(deepest);
      });
      expect((await run(scene, engine)).error, `seed ${seed}`).toBeNull();
    }
  });

  test("ends a text at the same stop string as plain decoding, and shows the same of it", async () => {
    for (const seed of SEEDS) {
      const { engine, request } = randomScene(seed);
      const random = new Random(seed + 1_000_000);
      const letters = (length: number) => String.fromCharCode(...Array.from({ length }, () => 97 + random.int(0, 3)));
      const stops = Array.from({ length: random.int(0, 3) }, () => letters(random.int(1, 3)));
      const show = async (heads: number) => {
        const transcript = new Transcript(lettersTable(engine.bundle.vocabSize), stops);
        const spec = { ...request.spec, heads };
        let text = "";
        for await (const event of decode(engine, { ...request, spec, signal: NEVER })) {
          const step = transcript.push(event);
          text += step.text;
          if (step.finish !== null) return { text, finish: step.finish };
        }
        return { text, finish: null };
      };
      expect(await show(request.spec.heads), `seed ${seed}`).toEqual(await show(0));
    }
  });
});

/** Short texts over few letters, one to three to a token, so that stop strings begin inside tokens and blocks. */
function lettersTable(size: number) {
  const text = (token: number) => "abcd".repeat(2).slice(token % 4, (token % 4) + 1 + (token % 3));
  return { size, hidden: () => false, bytes: (token: number) => new TextEncoder().encode(text(token)) };
}

describe("an engine at fault", () => {
  test("that is slow and uneven changes no token", async () => {
    for (const seed of SEEDS.slice(0, 100)) {
      const scene = randomScene(seed);
      const random = new Random(seed);
      const engine = watched(scene.engine, async () => {
        for (let ticks = random.int(0, 5); ticks > 0; ticks--) await Promise.resolve();
      });
      expect(tokensOf((await run(scene, engine)).events), `seed ${seed}`).toEqual(scene.plain);
    }
  });

  test("ends the text early with its error, after a true beginning of the plain text, and keeps no session", async () => {
    let failures = 0;
    for (const seed of SEEDS.slice(0, 200)) {
      const scene = randomScene(seed);
      const dies = new Random(seed).int(0, 6);
      const engine = watched(scene.engine, async (call) => {
        if (call === dies) throw new StepError("engine_failed", "died");
      });
      const { events, error } = await run(scene, engine);
      const committed = tokensOf(events);
      expect(committed, `seed ${seed}`).toEqual(scene.plain.slice(0, committed.length));
      expect(events.length).toBeLessThanOrEqual(dies);
      if (error === null) expect(committed).toEqual(scene.plain);
      else expect(error).toMatchObject({ code: "engine_failed" });
      expect(scene.engine.openSessions).toBe(0);
      failures += error === null ? 0 : 1;
    }
    expect(failures).toBeGreaterThan(50);
  });

  test("that accepts nodes which are no path of the draft is refused, and its session closed", async () => {
    const scene = randomScene(7);
    const request = { ...scene.request, limits: { maxTokens: 50, eosTokens: [] } };
    const lying: StepEngine = {
      async open(spec, signal) {
        const session = await scene.engine.open(spec, signal);
        const { bundle, opened, cachedTokens } = session;
        const step = async () => ({ ...opened, accepted: [99] });
        return { bundle, opened, cachedTokens, step, close: () => session.close() };
      },
    };
    expect((await run({ ...scene, request }, lying)).error).toMatchObject({ code: "engine_failed" });
    expect(scene.engine.openSessions).toBe(0);
  });
});

test("a cancelled completion stops within one step and keeps no session", async () => {
  let cancelled = 0;
  for (const seed of SEEDS.slice(0, 100)) {
    const scene = randomScene(seed);
    const cancel = new AbortController();
    const last = new Random(seed).int(0, 4);
    let calls = 0;
    const engine = watched(scene.engine, async (call) => {
      calls++;
      if (call === last) cancel.abort();
    });
    const { error } = await run(scene, engine, cancel.signal);
    if (cancel.signal.aborted) expect(error, `seed ${seed}`).toMatchObject({ code: "client_closed" });
    expect(calls).toBeLessThanOrEqual(last + 1);
    expect(scene.engine.openSessions).toBe(0);
    cancelled += cancel.signal.aborted ? 1 : 0;
  }
  expect(cancelled).toBeGreaterThan(50);
});

test("a reader that leaves in the middle ends the session", async () => {
  for (const seed of SEEDS.slice(0, 50)) {
    const { engine, request } = randomScene(seed);
    for await (const event of decode(engine, { ...request, signal: NEVER })) if (event.call === 1) break;
    expect(engine.openSessions).toBe(0);
  }
});
