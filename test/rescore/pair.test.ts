import { describe, expect, test } from "vitest";
import { CERTAIN, depths, treeFault } from "../../shared/draft-tree.ts";
import type { Lattice } from "../../shared/lattice.ts";
import { PromptModel } from "../../shared/ngram/prompt.ts";
import { CALIBRATION_VERSION } from "../../shared/rescore/calibration.ts";
import { Continuations, UNLISTED } from "../../shared/rescore/continuations.ts";
import { WEIGHTS } from "../../shared/rescore/features.ts";
import { History } from "../../shared/rescore/history.ts";
import { createRescorer, engineWork } from "../../shared/rescore/index.ts";
import { alphaSteps, edgeScore, pairPart } from "../../shared/rescore/lattice-columns.ts";
import { PairScores } from "../../shared/rescore/pair-scores.ts";
import { PairSearch } from "../../shared/rescore/pair-search.ts";
import { Random } from "../helpers/random.ts";
import { type LatticeOptions, randomCalibration, randomLattice, type ScoredPath } from "./helpers.ts";
import { toyPairs, toyQuery, withQuery } from "./toy-pairs.ts";

const vocabSize = 19;

const edge = (alpha: number, head: number, pair: number) => edgeScore(0, head, 0) + pairPart(alphaSteps(alpha), pair);
type Pairs = ReturnType<typeof toyPairs>;

function latticeOf(random: Random, options: Omit<LatticeOptions, "vocabSize">): Lattice {
  return withQuery(
    randomLattice(() => random.unit(), { ...options, vocabSize }),
    toyQuery(random),
  );
}

/** Every path of the first `columns` columns, best first: the definition the search must meet. */
function allPaths({ tokens, logProbs, k, query }: Lattice, columns: number, pairs: Pairs, alpha: number): ScoredPath[] {
  const out: ScoredPath[] = [];
  const walk = (ranks: number[], score: number): void => {
    const i = ranks.length;
    if (i === columns) {
      out.push({ ranks, score });
      return;
    }
    const column = [...tokens.subarray(i * k, i * k + k)];
    for (const [r, token] of column.entries()) {
      if (column.indexOf(token) < r) continue;
      const before = i === 0 ? null : tokens[(i - 1) * k + ranks[i - 1]!]!;
      const pair = before === null ? 0 : pairs.score(query, before, token);
      walk([...ranks, r], score + edge(alpha, logProbs[i * k + r]!, pair));
    }
  };
  walk([], 0);
  const order = ({ ranks }: ScoredPath) => ranks.reduce((key, rank) => key * 16 + rank, 0);
  return out.sort((a, b) => b.score - a.score || order(a) - order(b));
}

function found(search: PairSearch, columns: number): ScoredPath[] {
  return Array.from({ length: search.count }, (_, path) => ({
    ranks: Array.from({ length: columns }, (_, i) => search.rank(path, i)),
    score: search.scores[path]!,
  }));
}

describe("the best paths by pairs equal brute force, order of ties included", () => {
  test.each([
    ["fine scores", 0.001, 0, false],
    ["coarse scores that tie", 1, 0, false],
    ["impossible candidates", 0.25, 0.4, false],
    ["repeated tokens in a column", 0.5, 0, true],
  ])("%s", (_, step, impossible, repeats) => {
    const random = new Random(step * 1000 + 1);
    for (let round = 0; round < 300; round++) {
      const pairs = toyPairs(random, vocabSize);
      const size = { heads: random.int(1, 5), k: random.int(1, 5) };
      const lattice = latticeOf(random, { ...size, step, impossible, repeats });
      const alpha = random.pick([0, 0.1, 0.5, 1]);
      const columns = random.int(1, lattice.heads);
      const pBest = random.int(1, 16);
      const search = new PairSearch(new PairScores(pairs.tables), alpha);
      search.run(lattice, columns, pBest);
      expect(found(search, columns), `round ${round}`).toEqual(
        allPaths(lattice, columns, pairs, alpha).slice(0, pBest),
      );
    }
  });

  test("sixteen columns of sixteen: the best path is one that no change of a candidate betters", () => {
    const random = new Random(3);
    const pairs = toyPairs(random, vocabSize);
    const search = new PairSearch(new PairScores(pairs.tables), 1);
    for (let round = 0; round < 20; round++) {
      const lattice = latticeOf(random, { heads: 16, k: 16, step: 0.1 });
      search.run(lattice, 16, 16);
      const [best, ...others] = found(search, 16) as [ScoredPath, ...ScoredPath[]];
      expect(new Set([best, ...others].map(({ ranks }) => ranks.join())).size).toBe(16);
      expect(others.every(({ score }) => score <= best.score)).toBe(true);
      const scoreOf = (ranks: readonly number[]) =>
        ranks.reduce((sum, rank, i) => {
          const token = (at: number) => lattice.tokens[at * 16 + ranks[at]!]!;
          const pair = i === 0 ? 0 : pairs.score(lattice.query, token(i - 1), token(i));
          return sum + edge(1, lattice.logProbs[i * 16 + rank]!, pair);
        }, 0);
      expect(scoreOf(best.ranks)).toBe(best.score);
      for (let i = 0; i < 16; i++) {
        for (let r = 0; r < 16; r++) expect(scoreOf(best.ranks.with(i, r))).toBeLessThanOrEqual(best.score);
      }
    }
  });
});

describe("pair", () => {
  const random = new Random(11);
  const pairs = toyPairs(random, vocabSize);
  const rescorerOf = (alpha: number, pBest: number) =>
    createRescorer({ type: "pair", alpha, pBest }, null, null, null, pairs.tables);

  test("with alpha 0, or without a query, drafts what the heads like best", () => {
    let changed = 0;
    for (let round = 0; round < 100; round++) {
      const lattice = latticeOf(random, { heads: 5, k: 6, step: 0.25, impossible: 0.2, repeats: random.chance(0.3) });
      const nodes = random.int(0, 8);
      const plain = createRescorer({ type: "none" }, null).draft(lattice, nodes);
      expect(rescorerOf(0, 1).draft(lattice, nodes)).toEqual(plain);
      expect(createRescorer({ type: "pair", alpha: 0, pBest: 1 }, null).draft(lattice, nodes)).toEqual(plain);
      expect(rescorerOf(1, 1).draft(withQuery(lattice, null), nodes)).toEqual(plain);
      if (
        rescorerOf(1, 1).draft(lattice, 8).tokens.join() !==
        createRescorer({ type: "none" }, null).draft(lattice, 8).tokens.join()
      )
        changed++;
    }
    expect(changed).toBeGreaterThan(50);
  });

  test("is well formed, within its bounds, and the same again", () => {
    for (let round = 0; round < 100; round++) {
      const lattice = latticeOf(random, { heads: random.int(1, 16), k: random.int(1, 16), step: 0.5 });
      const nodes = random.int(0, 63);
      const rescorer = rescorerOf(random.unit(), random.int(1, 16));
      const draft = rescorer.draft(lattice, nodes);
      expect(treeFault(draft, vocabSize)).toBeNull();
      expect(draft.tokens.length).toBeLessThanOrEqual(nodes);
      expect(Math.max(0, ...depths(draft))).toBe(Math.min(nodes, lattice.heads));
      expect(rescorer.draft(lattice, nodes)).toEqual(draft);
      expect(draft.chances.every((chance) => chance === CERTAIN)).toBe(true);
    }
  });

  test("asks the engine for queries, unless alpha is 0", () => {
    expect(engineWork({ type: "pair", alpha: 0.5, pBest: 1 })).toMatchObject({ pair: true });
    expect(engineWork({ type: "pair", alpha: 0, pBest: 1 })).toMatchObject({ pair: false });
    expect(engineWork({ type: "tree", order: 2, alpha: 0, prompt: false, pair: true })).toMatchObject({ pair: true });
    expect(engineWork({ type: "tree", order: 2, alpha: 0, prompt: false })).toMatchObject({ pair: false });
    expect(() => createRescorer({ type: "pair", alpha: 1, pBest: 1 }, null)).toThrow(/tables of pairs/);
  });
});

describe("pairs as evidence", () => {
  /** By its definition, from a column's probabilities. */
  function evidence(
    { tokens, logProbs, k, query }: Lattice,
    pairs: Pairs,
    depth: number,
    a: number,
    b: number,
  ): number {
    const column = [...tokens.subarray(depth * k, depth * k + k)];
    const listed = column.flatMap((token, r) =>
      column.indexOf(token) < r ? [] : [{ token, p: Math.exp(Math.max(logProbs[depth * k + r]!, -12)) }],
    );
    const mass = listed.reduce((sum, { p }) => sum + p, 0);
    const mean = listed.reduce((sum, { token, p }) => sum + p * Math.exp(pairs.score(query, a, token)), 0) / mass;
    return Math.min(6, Math.max(-6, pairs.score(query, a, b) - Math.log(mean)));
  }

  test("is how much better a token follows the newest one than the column's candidates do", () => {
    let unlisted = 0;
    let clamped = 0;
    for (let seed = 1; seed <= 60; seed++) {
      const random = new Random(seed);
      const pairs = toyPairs(random, vocabSize, 32);
      const bare = latticeOf(random, { heads: 3, k: 4, step: 0.5, impossible: 0.2, repeats: random.chance(0.5) });
      const lattice = withQuery(bare, random.chance(0.9) ? toyQuery(random, 32) : null);
      const history = new History(null, new PromptModel(), null, null, new PairScores(pairs.tables));
      history.commit(Array.from({ length: 30 }, () => random.int(0, 5)));
      const after = new Continuations(history);
      after.begin(lattice);
      let end = history.end();
      for (let depth = 0; depth < 5; depth++) {
        after.list(end);
        for (let c = 0; c < after.count; c++) {
          const known = depth > 0 && depth < 3 && lattice.query !== null;
          const wanted = known ? evidence(lattice, pairs, depth, end.token, after.tokens[c]!) : 0;
          expect(after.pair[c], `seed ${seed}`).toBeCloseTo(wanted, 7);
          if (known && after.ranks[c] === UNLISTED) unlisted++;
          if (Math.abs(wanted) === 6) clamped++;
        }
        if (after.count === 0) break;
        end = after.step(end, random.int(0, after.count - 1));
      }
    }
    expect(unlisted).toBeGreaterThan(20);
    expect(clamped).toBeGreaterThan(0);
  });

  test("leaves a tree as it is where its weights are 0, and changes it where they are not", () => {
    const plain = 236;
    let changed = 0;
    for (let seed = 1; seed <= 60; seed++) {
      const random = new Random(seed);
      const pairs = toyPairs(random, vocabSize);
      const lattice = latticeOf(random, { heads: 4, k: 5, step: 0.5 });
      const committed = Array.from({ length: 20 }, () => random.int(0, 7));
      const whole = randomCalibration(() => random.unit()).weights.heads!;
      const muted = whole.map((weight, i) => (i < plain ? weight : 0));
      const draft = (type: "tree" | "path", weights: readonly number[], pair: boolean) => {
        const calibration = {
          version: CALIBRATION_VERSION,
          command: "",
          pack: null,
          weights: { heads: whole, "heads+pair": weights },
        };
        const settings = { order: 2, alpha: 0, prompt: false, pair };
        const spec = type === "tree" ? { type, ...settings } : { type, ...settings, pBest: 2 };
        const rescorer = createRescorer(spec, null, calibration, null, pairs.tables);
        rescorer.commit(committed);
        return rescorer.draft(lattice, 16);
      };
      for (const type of ["tree", "path"] as const) {
        expect(draft(type, muted, true)).toEqual(draft(type, whole, false));
        if (draft(type, whole, true).tokens.join() !== draft(type, whole, false).tokens.join()) changed++;
      }
    }
    expect(changed).toBeGreaterThan(60);
    expect(WEIGHTS).toBeGreaterThan(plain);
  });

  test("needs tables and weights", () => {
    const { tables } = toyPairs(new Random(1), vocabSize);
    const spec = { type: "tree", order: 2, alpha: 0, prompt: false, pair: true } as const;
    const calibration = randomCalibration(() => 0.5);
    expect(() => createRescorer(spec, null, calibration)).toThrow(/tables/);
    const { heads } = calibration.weights;
    expect(() => createRescorer(spec, null, { ...calibration, weights: { heads: heads! } }, null, tables)).toThrow(
      /heads\+pair/,
    );
    expect(() => createRescorer(spec, null, calibration, null, tables)).not.toThrow();
  });
});
