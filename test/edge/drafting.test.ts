import { describe, expect, test } from "vitest";
import { AcceptanceEstimate } from "../../shared/decode/acceptance.ts";
import { type DecodeRequest, decode } from "../../shared/decode/run.ts";
import { CERTAIN, chain, type DraftTree, treeFault, treeOf } from "../../shared/draft-tree.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import type { DraftScope, Rescorer } from "../../shared/rescore/rescorer.ts";
import { Random } from "../helpers/random.ts";
import { randomTree } from "../helpers/trees.ts";
import { IM_END, INFO } from "./fixture.ts";
import { type Script, ScriptedEngine } from "./scripted-engine.ts";

/** Steps of a chain whose first nodes are accepted as long as `accept` says so; the nodes asked for in each. */
function run(
  estimate: AcceptanceEstimate,
  floor: number,
  steps: number,
  accept: (node: number, step: number) => boolean,
): number[] {
  return Array.from({ length: steps }, (_, step) => {
    const nodes = estimate.nodes(floor);
    const draft = estimate.estimate(chain(new Array<number>(nodes).fill(1)));
    const accepted: number[] = [];
    while (accepted.length < nodes && accept(accepted.length, step)) accepted.push(accepted.length);
    estimate.observe(draft, accepted, 0);
    return nodes;
  });
}

/** Chances of a chain, of 255. */
const chancesOf = (estimate: AcceptanceEstimate, nodes: number) => [
  ...estimate.estimate(chain(new Array<number>(nodes).fill(1))).chances,
];

describe("the acceptance estimate", () => {
  test("begins with a half, less along the first path, and little for other paths", () => {
    // 0.5, 0.3, 0.18, 0.108, then 0.03.
    expect(chancesOf(new AcceptanceEstimate(8, 4), 6)).toEqual([128, 77, 46, 28, 8, 8]);
    expect(new AcceptanceEstimate(8, 4).nodes(0.3)).toBe(2);
    expect(new AcceptanceEstimate(8, 4).nodes(0.04)).toBe(4);
    expect(new AcceptanceEstimate(8, 4).nodes(0.51)).toBe(0);
  });

  test("drafts nothing where a node has to be likely and is rarely right", () => {
    const chosen = run(new AcceptanceEstimate(8, 8), 0.4, 40, () => false);
    expect(chosen.slice(10, 20)).toEqual(new Array(10).fill(0));
  });

  test("drafts all where verifying is free", () => {
    expect(run(new AcceptanceEstimate(63, 8), 0, 10, (node) => node < 2)).toEqual(new Array(10).fill(63));
  });

  test("drafts up to the last node that is likely enough, whatever comes before it", () => {
    const estimate = new AcceptanceEstimate(8, 1);
    const siblings = treeOf([1, 2, 3], [-1, -1, -1], Uint8Array.of(90, 90, 90));
    for (let step = 0; step < 20; step++) estimate.observe(siblings, [2], 0);
    expect(estimate.nodes(0.5)).toBe(3);
    expect(estimate.nodes(0.95)).toBe(0);
    // Certain of the third by now, and all but certain that it is none of the others.
    const [first = 0, second = 0, third = 0] = estimate.estimate(siblings).chances;
    expect(Math.max(first, second)).toBeLessThan(40);
    expect(third).toBeGreaterThan(200);
  });

  test("drafts more the less likely a node has to be", () => {
    const sizes = [0.9, 0.6, 0.3, 0.1, 0.02].map((floor) => {
      const estimate = new AcceptanceEstimate(16, 8);
      // Node 2 is accepted in every other step, and never without those before it.
      run(estimate, 0, 60, (node, step) => node < 2 || (node === 2 && step % 2 === 0));
      return estimate.nodes(floor);
    });
    expect(sizes.slice(0, 3)).toEqual([2, 2, 3]);
    expect(sizes).toEqual(sizes.toSorted((a, b) => a - b));
    expect(sizes[4]!).toBeGreaterThan(sizes[2]!);
  });

  test("follows acceptance up and down", () => {
    const chosen = run(new AcceptanceEstimate(8, 8), 0.3, 200, (_, step) => step >= 100);
    expect(Math.max(...chosen.slice(60, 100).filter((n) => n !== 2))).toBe(0);
    expect(Math.min(...chosen.slice(-20))).toBeGreaterThanOrEqual(7);
  });

  test("comes to the share of steps in which a node is accepted", () => {
    const estimate = new AcceptanceEstimate(4, 4);
    run(estimate, 0, 200, (node, step) => [step % 10 < 9, step % 2 === 0, step % 4 === 0, false][node]!);
    // Off by what the prior weighs, and by the last steps' weighing more than those before.
    for (const [node, chance] of chancesOf(estimate, 4).entries()) {
      expect(Math.abs(chance / CERTAIN - [0.9, 0.5, 0.25, 0][node]!), `node ${node}`).toBeLessThan(0.1);
    }
  });

  test("learns nothing of nodes that were not verified", () => {
    const draft = treeOf([1, 1, 1], [-1, 0, 1], Uint8Array.of(128, 77, 46));
    const seen = new AcceptanceEstimate(3, 3);
    const unseen = new AcceptanceEstimate(3, 3);
    for (let step = 0; step < 3; step++) {
      seen.observe(draft, [], 77);
      unseen.observe(draft, [], CERTAIN + 1);
    }
    expect(chancesOf(unseen, 3)).toEqual([128, 77, 46]);
    const [first, second, third] = chancesOf(seen, 3) as [number, number, number];
    expect(first).toBeLessThan(80);
    expect(second).toBeLessThan(25);
    // As likely after its parent as before: the prior is all that is known.
    expect(Math.abs(third - 0.6 * second)).toBeLessThan(1);
  });

  test("makes no node likelier than its parent, whatever tree is drafted and accepted", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = new Random(seed);
      const estimate = new AcceptanceEstimate(20, random.int(1, 8));
      for (let step = 0; step < 30; step++) {
        estimate.nodes(random.unit());
        const tree = randomTree(random, 20, 4);
        const draft = estimate.estimate(tree);
        expect(treeFault(draft, 4), `seed ${seed}`).toBeNull();
        expect([draft.tokens, draft.parents]).toEqual([tree.tokens, tree.parents]);
        const accepted = [...tree.tokens.keys()].filter(() => random.chance(0.4));
        estimate.observe(draft, accepted, random.int(0, CERTAIN + 1));
      }
    }
  });

  test("lets a larger draft insist now and then, so that a bad stretch can end", () => {
    const estimate = new AcceptanceEstimate(8, 8);
    const probes: number[] = [];
    for (let step = 1; step <= 100; step++) {
      const nodes = estimate.nodes(0.6);
      const draft = estimate.estimate(chain(new Array<number>(nodes).fill(1)));
      if (nodes > 0) probes.push(step);
      if (nodes > 0) expect([...draft.chances]).toEqual([CERTAIN, CERTAIN]);
      estimate.observe(draft, [], CERTAIN);
    }
    expect(probes).toEqual([24, 48, 72, 96]);
  });

  test("never insists where all may be drafted anyway", () => {
    const estimate = new AcceptanceEstimate(4, 4);
    for (let step = 0; step < 100; step++) {
      expect(estimate.nodes(0.01)).toBe(4);
      expect(Math.max(...chancesOf(estimate, 4))).toBeLessThan(CERTAIN);
    }
  });
});

type Asked = { readonly maxNodes: number; readonly scope: DraftScope | undefined };

/** What a rescorer is asked for when the engine says these thresholds, and the drafts that are sent. */
async function asked(
  script: Partial<Script>,
  change: { readonly calibrated?: boolean; readonly autoNodes?: boolean; readonly maxNodes?: number },
): Promise<{ calls: Asked[]; drafts: readonly DraftTree[] }> {
  const { calibrated = false, autoNodes = true, maxNodes = 20 } = change;
  const calls: Asked[] = [];
  const heads = createRescorer({ type: "none" }, null);
  const rescorer: Rescorer = {
    calibrated,
    commit() {},
    draft(lattice, most, scope) {
      calls.push({ maxNodes: most, scope });
      const { tokens } = heads.draft(lattice, most, scope);
      return calibrated
        ? chain(
            tokens,
            Uint8Array.from(tokens, (_, i) => 90 - 30 * i),
          )
        : chain(tokens);
    },
  };
  const engine = new ScriptedEngine({ tokens: Array.from({ length: 30 }, (_, i) => i), ...script }, INFO);
  const request: DecodeRequest = {
    spec: {
      model: "toy",
      prompt: Uint32Array.of(1, 2),
      heads: 3,
      topK: 2,
      sampling: { temperature: 0, topP: 1, seed: 0 },
      logProbs: null,
      neural: null,
      fixed: !autoNodes,
      tenant: "",
    },
    limits: { maxTokens: 40, eosTokens: [IM_END] },
    rescorer,
    elsewhere: null,
    maxNodes,
    autoNodes,
    tokenizerHash: null,
    signal: new AbortController().signal,
    now: () => 0,
  };
  for await (const _event of decode(engine, request));
  return { calls, drafts: engine.drafts };
}

describe("drafting", () => {
  const THRESHOLDS = [0, 100, 50, 256, 0];

  test("a rescorer that knows how likely its nodes are is told the least chance that may pay", async () => {
    const { calls, drafts } = await asked({ thresholds: THRESHOLDS }, { calibrated: true });
    expect(calls.map(({ maxNodes }) => maxNodes)).toEqual(calls.map(() => 20));
    // Before the engine has verified anything, and then a little less than the last node needed.
    const floors = [0.05, ...THRESHOLDS.slice(1).map((threshold) => (0.7 * threshold) / 255)];
    expect(calls.slice(0, 5).map(({ scope }) => scope!.floor)).toEqual(floors);
    // One token of 40 is committed, and a bonus token will be.
    expect(calls[0]!.scope!.depth).toBe(38);
    expect(drafts.slice(0, 4).map(({ chances }) => [...chances])).toEqual(new Array(4).fill([90, 60, 30]));
  });

  test("another one is asked for as many nodes as have been likely enough, whose chances are estimated", async () => {
    const { calls, drafts } = await asked({ thresholds: THRESHOLDS }, { maxNodes: 3 });
    expect(calls.map(({ scope }) => scope!.floor)).toEqual(calls.map(() => 0));
    const estimate = new AcceptanceEstimate(3, 3);
    const floors = [0.05, ...THRESHOLDS.slice(1).map((threshold) => (0.7 * threshold) / 255)];
    for (const [step, floor] of floors.entries()) {
      const nodes = estimate.nodes(floor);
      const { tokens, chances } = drafts[step]!;
      expect(tokens.length, `step ${step}`).toBe(nodes);
      expect([...chances]).toEqual(chancesOf(estimate, nodes));
      const threshold = THRESHOLDS[step + 1] ?? 0;
      const verified = [...chances.keys()].filter((node) => chances[node]! >= threshold);
      estimate.observe(drafts[step]!, verified, threshold);
    }
    // A node is accepted wherever it is verified. After 100 the third one was not yet likely enough, after 256 none is.
    expect(drafts.slice(0, 5).map(({ tokens }) => tokens.length)).toEqual([3, 2, 3, 0, 3]);
  });

  test("a rescorer is not asked where no node is likely enough", async () => {
    const { calls, drafts } = await asked({ thresholds: [256], wrongRows: [1, 2, 3] }, {});
    expect(calls.length).toBeLessThan(drafts.length);
    expect(drafts.filter(({ tokens }) => tokens.length > 0)).toHaveLength(calls.length);
  });

  test("a fixed number of nodes is drafted whatever pays, and told to be", async () => {
    for (const calibrated of [true, false]) {
      const { calls, drafts } = await asked({ thresholds: [256] }, { autoNodes: false, calibrated });
      expect(calls.map(({ maxNodes, scope }) => [maxNodes, scope!.floor])).toEqual(calls.map(() => [20, 0]));
      // The engine verifies such a draft whole, so four tokens are committed in every step.
      expect(drafts.map(({ tokens }) => tokens.length)).toEqual(new Array(8).fill(3));
    }
  });
});
