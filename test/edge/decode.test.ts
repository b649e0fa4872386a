import { describe, expect, test } from "vitest";
import { DecodeStats, quantile } from "../../edge/openai/stats.ts";
import { advance, draftDepth, INITIAL_STATE } from "../../shared/decode/advance.ts";
import { type DecodeRequest, decode, type StepEvent } from "../../shared/decode/run.ts";
import { CERTAIN, chain, type DraftTree, mergePaths } from "../../shared/draft-tree.ts";
import { IDLE, type StepResult } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import { EMPTY_LATTICE } from "../../shared/lattice.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";
import { Random } from "../helpers/random.ts";
import { randomTree, withChances } from "../helpers/trees.ts";
import { randomCalibration } from "../rescore/helpers.ts";
import { toyPairs } from "../rescore/toy-pairs.ts";
import { IM_END, INFO } from "./fixture.ts";
import { type Script, ScriptedEngine } from "./scripted-engine.ts";

const LIMITS = { maxTokens: 10, eosTokens: [9] };

function result(accepted: number[], bonus: number): StepResult {
  const timing = { queueMs: 0, modelMs: 0, engineMs: 0 };
  return { accepted, bonus, lattice: EMPTY_LATTICE, logProbs: null, threshold: 0, timing, load: IDLE };
}

describe("advancing by one result", () => {
  const draft = mergePaths([
    [1, 2, 3],
    [1, 4],
  ]);

  test("commits the accepted path, then the bonus token", () => {
    const { committed, state } = advance(INITIAL_STATE, LIMITS, draft, result([0, 3], 5));
    expect(committed.map((c) => [c.token, c.kind])).toEqual([
      [1, "accepted"],
      [4, "accepted"],
      [5, "bonus"],
    ]);
    expect(state).toEqual({ committed: 3, finish: null });
  });

  test("ends at an end-of-sequence token inside the block", () => {
    const { committed, state } = advance(INITIAL_STATE, LIMITS, chain([1, 9, 3]), result([0, 1, 2], 5));
    expect(committed.map((c) => c.token)).toEqual([1, 9]);
    expect(state.finish).toBe("stop");
  });

  test("ends at the token limit inside the block; an end token at the limit is a stop", () => {
    const start = { committed: 8, finish: null };
    expect(advance(start, LIMITS, chain([1, 2, 3]), result([0, 1, 2], 5))).toMatchObject({
      state: { committed: 10, finish: "length" },
    });
    expect(advance(start, LIMITS, chain([1, 9]), result([0, 1], 5))).toMatchObject({
      state: { committed: 10, finish: "stop" },
    });
  });

  test("refuses accepted nodes that are no path of the draft", () => {
    for (const accepted of [[1], [0, 2], [0, 0], [7], [0, 1, 2, 3]]) {
      expect(() => advance(INITIAL_STATE, LIMITS, draft, result(accepted, 5))).toThrow(StepError);
    }
  });

  test("leaves the bonus token its place below the limit", () => {
    expect(draftDepth({ committed: 7, finish: null }, LIMITS)).toBe(2);
    expect(draftDepth({ committed: 9, finish: null }, LIMITS)).toBe(0);
    expect(draftDepth({ committed: 10, finish: "length" }, LIMITS)).toBe(0);
  });
});

function requestOf(change: Partial<DecodeRequest> = {}): DecodeRequest {
  return {
    spec: {
      model: "toy",
      prompt: Uint32Array.of(1, 2),
      heads: 4,
      topK: 4,
      sampling: { temperature: 0, topP: 1, seed: 0 },
      logProbs: null,
      neural: null,
      fixed: false,
      tenant: "",
    },
    limits: { maxTokens: 40, eosTokens: [IM_END] },
    rescorer: createRescorer({ type: "none" }, null),
    maxNodes: 4,
    autoNodes: false,
    tokenizerHash: INFO.tokenizerHash,
    elsewhere: null,
    signal: new AbortController().signal,
    now: () => 0,
    ...change,
  };
}

async function collect(
  script: Script,
  request: DecodeRequest,
): Promise<{ engine: ScriptedEngine; events: StepEvent[]; tokens: number[] }> {
  const engine = new ScriptedEngine(script, INFO);
  const events: StepEvent[] = [];
  for await (const event of decode(engine, request)) events.push(event);
  return { engine, events, tokens: events.flatMap((e) => e.committed.map((c) => c.token)) };
}

/** Drafts and chances that have nothing to do with the lattice. */
function wildRescorer(random: Random): Rescorer {
  const calibrated = random.chance(0.5);
  const draft = (_: unknown, maxNodes: number): DraftTree => {
    const tree = randomTree(random, maxNodes, 3);
    return calibrated ? withChances(random, tree) : tree;
  };
  return { calibrated, commit() {}, draft };
}

function ngramRescorer(random: Random): Rescorer {
  return createRescorer({ type: "ngram", order: 2, alpha: 0, pBest: random.int(1, 4) }, null);
}

/** Any rescorer that pairs take part in. */
function pairRescorer(random: Random): Rescorer {
  const { tables } = toyPairs(random, INFO.vocabSize);
  const settings = { order: 2, alpha: 0, prompt: random.chance(0.5), recycled: false, pair: true };
  const pBest = random.int(1, 4);
  const spec = random.pick([
    { type: "pair", alpha: random.unit(), pBest },
    { type: "tree", ...settings },
    { type: "path", ...settings, pBest },
  ] as const);
  return createRescorer(
    spec,
    null,
    randomCalibration(() => random.unit()),
    null,
    tables,
  );
}

/** What the script says until it or the limit ends: the text of plain decoding, by hand. */
function said({ tokens = [], endless }: Script, { maxTokens, eosTokens }: DecodeRequest["limits"]) {
  const text = endless ? tokens : [...tokens, IM_END];
  const committed: number[] = [];
  for (;;) {
    const token = text[committed.length % text.length]!;
    committed.push(token);
    if (eosTokens.includes(token)) return { committed, finish: "stop" };
    if (committed.length === maxTokens) return { committed, finish: "length" };
  }
}

describe("decoding", () => {
  test("plain and blockwise give the model's text, whatever is drafted", async () => {
    for (let seed = 0; seed < 200; seed++) {
      const random = new Random(seed);
      const script: Script = {
        tokens: Array.from({ length: random.int(1, 30) }, () => random.int(0, 2)),
        endless: random.chance(0.3),
        wrongRows: [1, 2, 3, 4, 5, 6, 7, 8].filter(() => random.chance(0.4)),
        thresholds: Array.from({ length: random.int(0, 20) }, () => random.int(0, CERTAIN + 1)),
      };
      const limits = { maxTokens: random.int(1, 40), eosTokens: random.chance(0.3) ? [IM_END, 2] : [IM_END] };
      const plainSpec = { ...requestOf().spec, heads: 0 };
      const plain = await collect(script, requestOf({ spec: plainSpec, maxNodes: 0, limits }));
      const { committed, finish } = said(script, limits);
      const heads = random.int(1, 8);
      const autoNodes = random.chance(0.5);
      const block = await collect(
        script,
        requestOf({
          spec: { ...plainSpec, heads, topK: random.int(1, 4), fixed: !autoNodes, pair: true },
          limits,
          maxNodes: random.int(0, 20),
          autoNodes,
          rescorer: random.pick([wildRescorer, ngramRescorer, pairRescorer])(random),
        }),
      );
      for (const { tokens, events } of [plain, block]) {
        expect(tokens, `seed ${seed}`).toEqual(committed);
        expect(events.at(-1)!.finish).toBe(finish);
      }
      expect(block.engine.closed).toBe(1);
    }
  });

  test("tells the rescorer every committed token once, the prompt first", async () => {
    const told: number[] = [];
    const rescorer = {
      ...createRescorer({ type: "none" }, null),
      commit: (tokens: ArrayLike<number>) => void told.push(...Array.from(tokens)),
    };
    const { tokens } = await collect({ tokens: [5, 6, 7, 8, 9, 10, 11] }, requestOf({ rescorer }));
    // After the last block there is nothing left to draft.
    expect([1, 2, ...tokens].slice(0, told.length)).toEqual(told);
    expect(told.length).toBeGreaterThan(5);
  });

  test("draws no draft beyond the token limit", async () => {
    const { engine, tokens } = await collect(
      { tokens: [1], endless: true },
      requestOf({ limits: { maxTokens: 7, eosTokens: [] } }),
    );
    expect(tokens).toHaveLength(7);
    expect(engine.drafts.map((d) => d.tokens.length)).toEqual([4, 0]);
  });

  test("a consumer that leaves ends the session", async () => {
    const engine = new ScriptedEngine({ tokens: [1], endless: true }, INFO);
    for await (const event of decode(engine, requestOf())) if (event.call === 1) break;
    expect(engine.closed).toBe(1);
  });

  test("an abort ends the session, also while the consumer asks for nothing", async () => {
    const engine = new ScriptedEngine({ tokens: [1], endless: true }, INFO);
    const client = new AbortController();
    const events = decode(engine, requestOf({ signal: client.signal }));
    await events.next();
    client.abort();
    expect(engine.closed).toBe(1);
  });

  test("the first event says how much of the prompt had been computed, and every event what was verified", async () => {
    const script: Script = { tokens: [5, 6, 7, 8, 9, 10, 11], thresholds: [256, 70, 0], cachedTokens: 2 };
    const { engine, events } = await collect(script, requestOf({ autoNodes: true }));
    expect(events.map(({ cachedTokens }) => cachedTokens)).toEqual([2, ...events.slice(1).map(() => 0)]);
    const stats = new DecodeStats();
    for (const event of events) stats.record(event);
    // Four nodes were drafted, of which two were likely enough; then three, being all that may be.
    expect(engine.drafts.map(({ tokens }) => tokens.length)).toEqual([4, 3]);
    expect(events.map(({ verified }) => verified?.tree.tokens.length)).toEqual([0, 2, 3]);
    expect(events.map(({ verified }) => verified?.accepted)).toEqual([[], [0, 1], [0, 1, 2]]);
    expect(stats).toMatchObject({ cachedTokens: 2, perStepDrafted: [2, 3], perStepAccepted: [2, 3] });
    expect(stats).toMatchObject({ drafted: 5, accepted: 5, tokens: 8 });
  });

  test("counts what plain decoding does as one token a step", async () => {
    const stats = new DecodeStats();
    const { events } = await collect(
      { tokens: [1, 2, 3] },
      requestOf({ spec: { ...requestOf().spec, heads: 0 }, maxNodes: 0 }),
    );
    for (const event of events) stats.record(event);
    expect(stats).toMatchObject({ tokens: 4, steps: 3, accepted: 0, drafted: 0, blockEfficiency: 1 });
    expect(quantile([3, 1, 2], 0.5)).toBe(2);
    expect(quantile([], 0.5)).toBe(0);
  });
});
