import { describe, expect, test } from "vitest";
import { CERTAIN, type DraftTree, EMPTY_TREE, mergePaths, treeOf } from "../../shared/draft-tree.ts";
import type { StepResult } from "../../shared/engine.ts";
import { ROOT } from "../../shared/ids.ts";
import { Random } from "../helpers/random.ts";
import { randomTree } from "../helpers/trees.ts";
import { GREEDY, LENGTH, never, type Probe, SAMPLED } from "./probe.ts";

/** What an engine may leave out or share to save time, which changes no text; and what it tells of it. */
export function economyContract(probe: () => Probe): void {
  thresholdContract(probe);
  prefixContract(probe);

  test("a reply tells how busy the engine is, this session among the others", async () => {
    const sessions = await Promise.all([1, 2, 3].map(() => probe().open({})));
    const { load } = await sessions[0]!.step(0, EMPTY_TREE, never);
    for (const session of sessions) session.close();
    expect(load.running).toBeGreaterThanOrEqual(3);
    expect(load.waiting).toBeGreaterThanOrEqual(0);
    expect(load.passMs).toBeGreaterThanOrEqual(0);
    expect(load.kvUsed).toBeGreaterThanOrEqual(0);
    expect(load.kvUsed).toBeLessThanOrEqual(1);
  });
}

/** Nodes that are too unlikely to pay need not be verified. */
function thresholdContract(probe: () => Probe): void {
  describe.each([
    ["greedy", GREEDY],
    ["sampled", SAMPLED],
  ])("%s decoding with drafts that may pay or not", (_, sampling) => {
    test("gives the same tokens, and accepts no node below the threshold", async () => {
      const truth = (await probe().plain(sampling)).tokens;
      const random = new Random(6);
      const results: [DraftTree, StepResult][] = [];
      let sent = EMPTY_TREE;
      const drafted = await probe().decode({ sampling, ...probe().withHeads() }, (last, tokens) => {
        if (tokens.length > 1) results.push([sent, last]);
        const paths = [truth.slice(tokens.length, tokens.length + 6), truth.slice(0, 3)];
        sent = withChances(
          random.chance(0.7) ? mergePaths(paths) : randomTree(random, 12, probe().info.vocabSize),
          random,
        );
        return sent;
      });
      expect(drafted.tokens).toEqual(truth);
      expect(results.length).toBeGreaterThan(10);
      expect(results.some(([, { accepted }]) => accepted.length > 0)).toBe(true);
      for (const [draft, { accepted, threshold }] of results) {
        expect(Number.isInteger(threshold) && threshold >= 0 && threshold <= CERTAIN + 1).toBe(true);
        expect(accepted.every((node) => draft.chances[node]! >= threshold)).toBe(true);
        // They are nodes of the draft as it was sent.
        expect(accepted.map((node) => draft.parents[node]!)).toEqual([ROOT, ...accepted].slice(0, -1));
      }
    });

    test("verifies the unlikeliest nodes, and makes a lattice after every step, where the caller insists", async () => {
      const truth = (await probe().plain(sampling)).tokens;
      const { heads, topK } = probe().withHeads();
      const replies: StepResult[] = [];
      const drafted = await probe().decode({ sampling, heads, topK, fixed: true }, (last, tokens) => {
        replies.push(last);
        const { tokens: path, parents } = mergePaths([truth.slice(tokens.length, tokens.length + 4)]);
        return treeOf(path, parents, new Uint8Array(path.length));
      });
      expect(drafted.tokens).toEqual(truth);
      expect(drafted.steps).toBe(Math.ceil((LENGTH - 1) / 5));
      expect(replies.map(({ lattice }) => [lattice.heads, lattice.k])).toEqual(replies.map(() => [heads, topK]));
      expect(replies.slice(1).map(({ threshold }) => threshold)).toEqual(replies.slice(1).map(() => 0));
    });
  });
}

/** What was computed of one prompt may serve another one of the same tenant. */
function prefixContract(probe: () => Probe): void {
  const prompt = Uint32Array.from({ length: 100 }, (_, i) => (i * i + 7) % 40);

  test("a prompt that was computed before is told so, and gives what it gave the first time", async () => {
    const tenant = "prefixes, first";
    const spec = { prompt, tenant, ...probe().withHeads(), logProbs: 2 };
    const first = await probe().open(spec);
    expect(first.cachedTokens).toBe(0);
    const second = await probe().open(spec);
    expect(second.cachedTokens).toBeGreaterThan(0);
    expect(second.cachedTokens).toBeLessThan(prompt.length);
    expectSame(second.opened, first.opened, probe().rounding);
    const next = [await first.step(0, EMPTY_TREE, never), await second.step(0, EMPTY_TREE, never)];
    expect(next[1]!.bonus).toBe(next[0]!.bonus);
    first.close();
    second.close();
  });

  test("a prompt that goes another way after a while is as it would be alone", async () => {
    const other = Uint32Array.from(prompt);
    other[70] = (other[70]! + 1) % 40;
    const alone = await probe().decode({ prompt: other, tenant: "prefixes, alone" }, () => EMPTY_TREE);
    const tenant = "prefixes, second";
    (await probe().open({ prompt, tenant })).close();
    const session = await probe().open({ prompt: other, tenant });
    expect(session.cachedTokens).toBeLessThanOrEqual(70);
    session.close();
    expect(await probe().decode({ prompt: other, tenant }, () => EMPTY_TREE)).toEqual(alone);
  });

  test("a prompt of another tenant is nobody's business", async () => {
    (await probe().open({ prompt, tenant: "prefixes, third" })).close();
    for (const tenant of ["prefixes, fourth", ""]) {
      const session = await probe().open({ prompt, tenant });
      session.close();
      expect(session.cachedTokens).toBe(0);
    }
  });
}

/** Equal but for what depends on the moment, and for rounding where there is any. */
function expectSame(actual: StepResult, expected: StepResult, rounding: number): void {
  const said = ({ accepted, bonus, lattice, logProbs }: StepResult) => ({ accepted, bonus, lattice, logProbs });
  if (rounding === 0) return expect(said(actual)).toEqual(said(expected));
  expect([actual.accepted, actual.bonus]).toEqual([expected.accepted, expected.bonus]);
  expect(actual.lattice).toMatchObject({ heads: expected.lattice.heads, k: expected.lattice.k });
  const chosen = ({ logProbs }: StepResult) => logProbs!.map(({ logProb }) => logProb);
  for (const [i, logProb] of chosen(actual).entries()) {
    expect(Math.abs(logProb - chosen(expected)[i]!)).toBeLessThanOrEqual(rounding);
  }
}

/** The tree with random chances, falling from the root down. */
function withChances({ tokens, parents }: DraftTree, random: Random): DraftTree {
  const chances = new Uint8Array(tokens.length);
  for (const [node, parent] of parents.entries()) {
    chances[node] = random.int(0, parent === ROOT ? CERTAIN : chances[parent]!);
  }
  return treeOf(tokens, parents, chances);
}
