import { describe, expect, test } from "vitest";
import { type DraftTree, depths, treeFault } from "../../shared/draft-tree.ts";
import { ROOT } from "../../shared/ids.ts";
import { EMPTY_LATTICE, type Lattice } from "../../shared/lattice.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import { PromptModel } from "../../shared/ngram/prompt.ts";
import { AcceptanceModel, evidenceOf } from "../../shared/rescore/calibration.ts";
import { Continuations } from "../../shared/rescore/continuations.ts";
import { History } from "../../shared/rescore/history.ts";
import { createRescorer, type RescorerSpec } from "../../shared/rescore/index.ts";
import { PairScores, type PairTables } from "../../shared/rescore/pair-scores.ts";
import type { PathEnd } from "../../shared/rescore/path-end.ts";
import { Recycled } from "../../shared/rescore/recycled.ts";
import type { RunnersUp } from "../../shared/runners-up.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { Random } from "../helpers/random.ts";
import { HASH, toyModel } from "../ngram/helpers.ts";
import { randomCalibration, randomLattice } from "./helpers.ts";
import { toyPairs, toyQuery, withQuery } from "./toy-pairs.ts";

const vocabSize = 23;
const pack = loadPack(writePack(toyModel({ seed: 4, order: 4, vocabSize, length: 300 }).table, HASH));

interface Scene {
  readonly spec: RescorerSpec & { type: "tree" };
  readonly committed: readonly number[];
  /** Of the last committed tokens. */
  readonly runnersUp: RunnersUp;
  readonly lattice: Lattice;
  readonly calibration: ReturnType<typeof randomCalibration>;
  readonly tables: PairTables;
}

function scene(seed: number, size: { heads: number; k: number }): Scene {
  const random = new Random(seed);
  const unit = () => random.unit();
  const committed = Array.from({ length: random.int(1, 40) }, () => random.int(0, 7));
  const known = random.int(0, committed.length);
  const switches = { prompt: random.chance(0.7), recycled: random.chance(0.6), pair: random.chance(0.5) };
  const bare = randomLattice(unit, { ...size, vocabSize, step: 0.5, impossible: 0.1, repeats: random.chance(0.3) });
  return {
    spec: { type: "tree", order: random.int(2, 4), alpha: random.pick([0, 0.3]), ...switches },
    committed,
    runnersUp: randomRunnersUp(random, known),
    lattice: withQuery(bare, toyQuery(random)),
    calibration: randomCalibration(unit),
    tables: toyPairs(random, vocabSize).tables,
  };
}

function randomRunnersUp(random: Random, rows: number, k = 3): RunnersUp {
  const tokens = Array.from({ length: rows * k }, () => random.int(0, vocabSize - 1));
  return { k, tokens: Uint32Array.from(tokens), gaps: Uint8Array.from(tokens, () => random.int(0, 90)) };
}

function rescorerOf({ spec, committed, runnersUp, calibration, tables }: Scene) {
  const rescorer = createRescorer(spec, pack, calibration, null, tables);
  rescorer.commit(committed, runnersUp);
  return rescorer;
}

/** Expected accepted length of every path, by asking the calibrated model along it: no search, no heap. */
function pathProbabilities(
  { spec, committed, runnersUp, lattice, calibration, tables }: Scene,
  depth: number,
): Map<string, number> {
  const model = spec.alpha === 0 ? null : pack.withOrder(spec.order);
  const { prompt, recycled = false, pair = false } = spec;
  const memory = prompt ? new PromptModel() : null;
  const scores = pair ? new PairScores(tables) : null;
  const history = new History(model, memory, recycled ? new Recycled() : null, null, scores);
  history.commit(committed, runnersUp);
  const after = new Continuations(history);
  after.begin(lattice);
  const evidence = evidenceOf({ lm: model !== null, prompt, recycled, pair });
  const acceptance = new AcceptanceModel(calibration.weights[evidence]!);
  const found = new Map<string, number>();
  const walk = (path: readonly number[], p: number, end: PathEnd): void => {
    if (path.length === depth) return;
    after.list(end);
    acceptance.estimate(after, end);
    // Walking on fills the arrays anew.
    const next = Array.from({ length: after.count }, (_, c) => ({
      end: after.step(end, c),
      p: p * acceptance.probabilities[c]!,
    }));
    for (const one of next) {
      const longer = [...path, one.end.token];
      found.set(longer.join(), one.p);
      walk(longer, one.p, one.end);
    }
  };
  walk([], 1, history.end());
  return found;
}

function pathsOf(tree: DraftTree): string[] {
  const paths: string[] = [];
  tree.tokens.forEach((token, node) => {
    const parent = tree.parents[node]!;
    paths.push(parent === ROOT ? String(token) : `${paths[parent]},${token}`);
  });
  return paths;
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

describe("tree", () => {
  test("has the highest expected accepted length of all trees of its size", () => {
    for (let seed = 1; seed <= 150; seed++) {
      const small = scene(seed, { heads: 3, k: 3 });
      const all = pathProbabilities(small, 3);
      // Paths are at most as likely as their beginnings, so the n likeliest are a tree and no other is better.
      const likeliest = [...all.values()].sort((a, b) => b - a);
      for (const nodes of [1, 2, 5, 12]) {
        const tree = rescorerOf(small).draft(small.lattice, nodes);
        const drafted = pathsOf(tree).map((path) => all.get(path) ?? Number.NaN);
        expect(tree.tokens.length, `seed ${seed}`).toBe(Math.min(nodes, likeliest.length));
        expect(sum(drafted), `seed ${seed}`).toBeCloseTo(sum(likeliest.slice(0, nodes)), 10);
      }
    }
  });

  test("is well formed, and within its bounds of nodes and depth", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = new Random(seed);
      const big = scene(seed, { heads: random.int(1, 16), k: random.int(1, 16) });
      const nodes = random.int(0, 63);
      const depth = random.int(1, 30);
      const tree = rescorerOf(big).draft(big.lattice, nodes, { depth, floor: 0 });
      expect(treeFault(tree, vocabSize), `seed ${seed}`).toBeNull();
      expect(tree.tokens.length).toBeLessThanOrEqual(nodes);
      expect(Math.max(0, ...depths(tree))).toBeLessThanOrEqual(depth);
      const shallow = rescorerOf(big).draft(big.lattice, nodes);
      expect(Math.max(0, ...depths(shallow))).toBeLessThanOrEqual(big.lattice.heads);
    }
  });

  test("of fewer nodes is the beginning of a larger one", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const big = scene(seed, { heads: 5, k: 8 });
      const rescorer = rescorerOf(big);
      const whole = rescorer.draft(big.lattice, 63);
      const part = rescorer.draft(big.lattice, 20);
      expect(part.tokens).toEqual(whole.tokens.slice(0, 20));
      expect(part.parents).toEqual(whole.parents.slice(0, 20));
      expect(part.chances).toEqual(whole.chances.slice(0, 20));
    }
  });

  test("is the same however what follows the prompt was committed", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const { spec, calibration, committed, lattice, tables } = scene(seed, { heads: 4, k: 6 });
      const whole = createRescorer(spec, pack, calibration, null, tables);
      const single = createRescorer(spec, pack, calibration, null, tables);
      whole.commit(committed);
      single.commit(committed);
      const answer = committed.slice(0, 9);
      whole.commit(answer);
      for (const token of answer) single.commit([token]);
      expect(single.draft(lattice, 63)).toEqual(whole.draft(lattice, 63));
    }
  });

  test("goes on beyond the lattice where the prompt does", () => {
    const { lattice, calibration } = scene(1, { heads: 1, k: 4 });
    const line = Array.from({ length: 12 }, (_, i) => i);
    for (const prompt of [true, false]) {
      const rescorer = createRescorer({ type: "tree", order: 3, alpha: 0, prompt }, null, calibration);
      rescorer.commit([...line, 20, 0, 1, 2]);
      const deepest = Math.max(...depths(rescorer.draft(lattice, 63, { depth: 40, floor: 0 })));
      if (prompt) expect(deepest).toBeGreaterThan(6);
      else expect(deepest).toBe(1);
    }
  });

  test("given a floor, has all nodes that are at least as likely, and no other", () => {
    const sizes = new Set<number>();
    for (let seed = 1; seed <= 200; seed++) {
      const random = new Random(seed);
      const big = scene(seed, { heads: 3, k: 3 });
      const all = pathProbabilities(big, 3);
      const likely = [...all.values()].filter((p) => p > 0).sort((p, q) => q - p);
      // Between two likelihoods, so that rounding decides nothing; beyond the first and the last one, too.
      let at = random.int(0, likely.length);
      while (at > 0 && at < likely.length && likely[at - 1]! - likely[at]! < 1e-12) at--;
      const floor = ((likely[at - 1] ?? 1) + (likely[at] ?? 0)) / 2;
      const nodes = random.pick([63, random.int(1, 20)]);
      const tree = rescorerOf(big).draft(big.lattice, nodes, { depth: 3, floor });
      const drafted = pathsOf(tree).map((path) => all.get(path)!);
      expect(
        drafted.every((p) => p >= floor),
        `seed ${seed}`,
      ).toBe(true);
      expect(drafted, `seed ${seed}`).toHaveLength(Math.min(at, nodes));
      expect(sum(drafted), `seed ${seed}`).toBeCloseTo(sum(likely.slice(0, Math.min(at, nodes))), 10);
      sizes.add(drafted.length);
    }
    expect(sizes.size).toBeGreaterThan(20);
    expect(sizes).toContain(0);
  });

  test("tells how likely each of its nodes is", () => {
    for (let seed = 1; seed <= 100; seed++) {
      const small = scene(seed, { heads: 3, k: 3 });
      const all = pathProbabilities(small, 3);
      const rescorer = rescorerOf(small);
      expect(rescorer.calibrated).toBe(true);
      const tree = rescorer.draft(small.lattice, 40);
      const wanted = pathsOf(tree).map((path) => Math.round(255 * all.get(path)!));
      expect([...tree.chances], `seed ${seed}`).toEqual(wanted);
    }
  });

  test("an empty lattice without a prompt, or no budget, drafts nothing", () => {
    const { calibration, lattice } = scene(2, { heads: 2, k: 2 });
    const rescorer = createRescorer({ type: "tree", order: 3, alpha: 0.5, prompt: false }, pack, calibration);
    rescorer.commit([1, 2, 3]);
    expect(rescorer.draft(EMPTY_LATTICE, 8).tokens.length).toBe(0);
    expect(rescorer.draft(lattice, 0).tokens.length).toBe(0);
  });

  test("needs a calibration, and a pack unless alpha is 0", () => {
    const { calibration } = scene(3, { heads: 2, k: 2 });
    const spec = { type: "tree", order: 3, alpha: 0.5, prompt: false } as const;
    expect(() => createRescorer(spec, pack)).toThrow(/calibration/);
    expect(() => createRescorer(spec, null, calibration)).toThrow(/language model/);
    expect(() => createRescorer({ ...spec, alpha: 0 }, null, calibration)).not.toThrow();
  });
});

test("acceptance probabilities of a path's continuations, and of another token, sum to one", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const { committed, lattice, calibration } = scene(seed, { heads: 3, k: 5 });
    const history = new History(pack, new PromptModel());
    history.commit(committed);
    const after = new Continuations(history);
    after.begin(lattice);
    const end = history.end();
    after.list(end);
    const acceptance = new AcceptanceModel(calibration.weights["heads+lm+prompt"]!);
    acceptance.estimate(after, end);
    const total = sum([...acceptance.probabilities.subarray(0, after.count)]);
    expect(total).toBeGreaterThan(0);
    expect(total).toBeLessThan(1);
  }
});
