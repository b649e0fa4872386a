import { describe, expect, test } from "vitest";
import {
  CERTAIN,
  chain,
  chanceOf,
  type DraftTree,
  depths,
  EMPTY_TREE,
  findChild,
  mergePaths,
  prune,
  treeFault,
  treeOf,
} from "../../shared/draft-tree.ts";
import { ROOT } from "../../shared/ids.ts";
import { LIMITS } from "../../shared/limits.ts";
import { Random } from "../helpers/random.ts";
import { everyTree, pathTo, randomTree, withChances } from "../helpers/trees.ts";

const VOCAB = 3;

/** Random paths over few tokens, so that many share a prefix; some are empty. */
function randomPaths(random: Random): number[][] {
  return Array.from({ length: random.int(0, 7) }, () =>
    Array.from({ length: random.int(0, 8) }, () => random.int(0, VOCAB - 1)),
  );
}

describe("treeFault", () => {
  test("finds nothing wrong with any tree of up to four nodes over two tokens", () => {
    let trees = 0;
    for (const each of everyTree(4, 2)) {
      expect(treeFault(each, 2)).toBeNull();
      trees++;
    }
    expect(trees).toBeGreaterThan(100);
  });

  test.each([
    ["a parent too few", treeOf([0, 1], [-1]), /2 tokens but 1 parents/],
    ["a chance too few", treeOf([0, 1], [-1, 0], Uint8Array.of(9)), /2 tokens but 1 chances/],
    ["a chance too many", treeOf([0], [-1], Uint8Array.of(9, 9)), /1 tokens but 2 chances/],
    ["a node likelier than its parent", chain([0, 1, 2], Uint8Array.of(9, 4, 5)), /node 2: likelier than its parent/],
    ["a token outside the vocabulary", treeOf([VOCAB], [-1]), /token 3 outside/],
    ["a node that is its own parent", treeOf([0, 1], [-1, 1]), /node 1: parent 1/],
    ["a parent that comes later", treeOf([0, 1, 2], [-1, 2, 0]), /node 1: parent 2/],
    ["a parent before the root", treeOf([0], [-2]), /node 0: parent -2/],
    ["two children of the root with one token", treeOf([1, 1], [-1, -1]), /repeats a sibling/],
    ["two deeper siblings with one token", treeOf([0, 2, 1, 2], [-1, 0, 0, 0]), /node 3: repeats/],
  ])("names %s", (_title, each, fault) => {
    expect(treeFault(each, VOCAB)).toMatch(fault);
  });

  test("allows the limit of nodes and not one more", () => {
    const zeros = (n: number) => chain(new Array<number>(n).fill(0));
    expect(treeFault(zeros(LIMITS.draftNodes), VOCAB)).toBeNull();
    expect(treeFault(zeros(LIMITS.draftNodes + 1), VOCAB)).toMatch(/64 nodes, at most 63/);
  });
});

describe("chances", () => {
  test("unless given are certain", () => {
    expect([...treeOf([1, 2], [-1, -1]).chances]).toEqual([CERTAIN, CERTAIN]);
    expect([...chain([1, 2]).chances]).toEqual([CERTAIN, CERTAIN]);
    expect([
      ...mergePaths([
        [1, 2],
        [1, 0],
      ]).chances,
    ]).toEqual([CERTAIN, CERTAIN, CERTAIN]);
    expect([...chain([1, 2], Uint8Array.of(7, 3)).chances]).toEqual([7, 3]);
  });

  test("are probabilities in 255ths, whatever they are made from", () => {
    expect([0, 0.5, 1, 1 / 255, 0.1].map(chanceOf)).toEqual([0, 128, CERTAIN, 1, 26]);
    expect([-0.5, 1.5, -Infinity, Infinity].map(chanceOf)).toEqual([0, CERTAIN, 0, CERTAIN]);
  });

  test("may be equal along a path, and anything among siblings", () => {
    expect(treeFault(treeOf([0, 1, 2, 1], [-1, 0, 0, -1], Uint8Array.of(9, 9, 4, 200)), VOCAB)).toBeNull();
  });
});

describe("prune", () => {
  /** "path: chance" of every node. */
  const nodesOf = (each: DraftTree) =>
    [...each.tokens.keys()].map((node) => `${pathTo(each, node)}: ${each.chances[node]}`);

  test("keeps the nodes that are likely enough, in order, and says which they were", () => {
    const random = new Random(5);
    let removed = 0;
    for (let round = 0; round < 500; round++) {
      const whole = withChances(random, randomTree(random, 20, VOCAB));
      const threshold = random.pick([0, 1, CERTAIN, CERTAIN + 1, random.int(0, CERTAIN)]);
      const { draft, nodes } = prune(whole, threshold);
      const wanted = [...whole.tokens.keys()].filter((node) => whole.chances[node]! >= threshold);
      expect(nodes).toEqual(wanted);
      expect(treeFault(draft, VOCAB)).toBeNull();
      expect(nodesOf(draft)).toEqual(wanted.map((node) => nodesOf(whole)[node]));
      removed += whole.tokens.length - wanted.length;
    }
    expect(removed).toBeGreaterThan(1000);
  });

  test("leaves a tree as it is where all nodes are likely enough", () => {
    const whole = chain([1, 2], Uint8Array.of(9, 4));
    expect(prune(whole, 4)).toEqual({ draft: whole, nodes: [0, 1] });
    expect(prune(whole, 5)).toEqual({ draft: chain([1], Uint8Array.of(9)), nodes: [0] });
    expect(prune(chain([1]), CERTAIN + 1)).toEqual({ draft: EMPTY_TREE, nodes: [] });
  });
});

describe("depths", () => {
  test("of a chain count up from one", () => {
    expect([...depths(chain([2, 1, 2]))]).toEqual([1, 2, 3]);
    expect(depths(EMPTY_TREE)).toHaveLength(0);
  });

  test("are the lengths of the paths from the root", () => {
    const random = new Random(1);
    for (let round = 0; round < 200; round++) {
      const each = randomTree(random, 20, VOCAB);
      expect([...depths(each)]).toEqual([...each.tokens.keys()].map((node) => pathTo(each, node).length));
    }
  });
});

describe("mergePaths", () => {
  test("makes a well-formed tree that holds every path and nothing else", () => {
    const random = new Random(2);
    for (let round = 0; round < 300; round++) {
      const paths = randomPaths(random);
      const merged = mergePaths(paths, 1000);
      expect(treeFault(merged, VOCAB)).toBeNull();
      const prefixes = new Set(paths.flatMap((path) => path.map((_, i) => path.slice(0, i + 1).join())));
      const nodes = [...merged.tokens.keys()].map((node) => pathTo(merged, node).join());
      expect(new Set(nodes)).toEqual(prefixes);
      expect(nodes).toHaveLength(prefixes.size);
    }
  });

  test("keeps to the budget by giving up the ends of later paths first", () => {
    const random = new Random(3);
    for (let round = 0; round < 300; round++) {
      const paths = randomPaths(random);
      const whole = mergePaths(paths, 1000);
      const budget = random.int(0, 20);
      const cut = mergePaths(paths, budget);
      expect(cut.tokens.length).toBe(Math.min(budget, whole.tokens.length));
      expect(treeFault(cut, VOCAB)).toBeNull();
      const best = paths[0] ?? [];
      const kept = [...cut.tokens.keys()].map((node) => pathTo(cut, node).join());
      for (let i = 1; i <= Math.min(best.length, budget); i++) expect(kept).toContain(best.slice(0, i).join());
    }
  });

  test("of one path is its chain", () => {
    expect(mergePaths([[2, 2, 0]])).toEqual(chain([2, 2, 0]));
  });
});

test("findChild agrees with a search by path", () => {
  const random = new Random(4);
  for (let round = 0; round < 100; round++) {
    const each = randomTree(random, 12, VOCAB);
    for (let parent = ROOT; parent < each.tokens.length; parent++) {
      for (let token = 0; token < VOCAB; token++) {
        const wanted = [...pathTo(each, parent), token].join();
        const found = [...each.tokens.keys()].find((node) => pathTo(each, node).join() === wanted);
        expect(findChild(each, parent, token)).toBe(found ?? -2);
      }
    }
  }
});
