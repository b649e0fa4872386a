import { describe, expect, test } from "vitest";
import { CERTAIN, type DraftTree, treeFault } from "../../shared/draft-tree.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { Random } from "../helpers/random.ts";
import { HASH, toyModel } from "../ngram/helpers.ts";
import { randomCalibration, randomLattice } from "./helpers.ts";

const vocabSize = 23;
const pack = loadPack(writePack(toyModel({ seed: 4, order: 4, vocabSize, length: 300 }).table, HASH));

function scene(seed: number) {
  const random = new Random(seed);
  const unit = () => random.unit();
  const committed = Array.from({ length: random.int(1, 40) }, () => random.int(0, 7));
  const size = { heads: random.int(1, 8), k: random.int(1, 16), vocabSize, step: 0.5, impossible: 0.1 };
  const lattice = randomLattice(unit, { ...size, repeats: random.chance(0.3) });
  const calibration = randomCalibration(unit);
  const order = random.int(2, 4);
  const settings = { order, alpha: random.pick([0, 0.3]), prompt: random.chance(0.6), recycled: random.chance(0.5) };
  const scope = { depth: random.int(1, 20), floor: random.pick([0, 0, 0.1]) };
  const rescorerOf = (pBest: number | null) => {
    const spec =
      pBest === null ? ({ type: "tree", ...settings } as const) : { type: "path" as const, ...settings, pBest };
    const rescorer = createRescorer(spec, pack, calibration);
    rescorer.commit(committed);
    return rescorer;
  };
  return { random, lattice, scope, rescorerOf };
}

/** Every path from the root to a leaf, as text, with the sum of its nodes' chances. */
function paths({ tokens, parents, chances }: DraftTree): Map<string, number> {
  const texts: string[] = [];
  const sums: number[] = [];
  for (const [node, parent] of parents.entries()) {
    texts.push(parent < 0 ? `${tokens[node]}` : `${texts[parent]} ${tokens[node]}`);
    sums.push((parent < 0 ? 0 : sums[parent]!) + chances[node]! / CERTAIN);
  }
  const inner = new Set(parents);
  return new Map(texts.flatMap((text, node) => (inner.has(node) ? [] : [[text, sums[node]!] as const])));
}

describe("the path rescorer", () => {
  test("drafts the path of the likeliest nodes that adds most, to its end, and then further ones", () => {
    let longer = 0;
    for (let seed = 1; seed <= 200; seed++) {
      const { lattice, scope, rescorerOf } = scene(seed);
      const likeliest = paths(rescorerOf(null).draft(lattice, 16, scope));
      // Chances are told in 255ths.
      const rounding = (scope.depth + 1) / CERTAIN;
      const [[text, worth] = ["", 0]] = paths(rescorerOf(1).draft(lattice, 63, scope));
      expect(Math.max(0, ...likeliest.values()) - worth, `seed ${seed}`).toBeLessThanOrEqual(rounding);
      if (likeliest.size > 0) {
        const begun = [...likeliest.keys()].filter((path) => `${text} `.startsWith(`${path} `));
        expect(begun, `seed ${seed}`).toHaveLength(1);
        if (begun[0] !== text) longer++;
      }
      // Of more paths, chosen among more nodes, each is one of a tree's.
      const all = paths(rescorerOf(null).draft(lattice, 63, scope));
      for (const path of paths(rescorerOf(4).draft(lattice, 63, scope)).keys()) {
        const beginning = [...all.keys()].some(
          (one) => `${path} `.startsWith(`${one} `) || `${one} `.startsWith(`${path} `),
        );
        expect(beginning, `seed ${seed}`).toBe(true);
      }
    }
    expect(longer).toBeGreaterThan(20);
  });

  test("is well formed, within its bounds, and the same again", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const { random, lattice, scope, rescorerOf } = scene(seed);
      const pBest = random.int(1, 16);
      const nodes = random.int(0, 63);
      const draft = rescorerOf(pBest).draft(lattice, nodes, scope);
      expect(treeFault(draft, vocabSize), `seed ${seed}`).toBeNull();
      expect(draft.tokens.length).toBeLessThanOrEqual(nodes);
      expect(paths(draft).size).toBeLessThanOrEqual(pBest);
      expect(rescorerOf(pBest).draft(lattice, nodes, scope)).toEqual(draft);
      const fewer = rescorerOf(pBest).draft(lattice, nodes >> 1, scope);
      expect(fewer.tokens).toEqual(draft.tokens.slice(0, nodes >> 1));
    }
  });
});
