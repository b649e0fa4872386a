import { expect, test } from "vitest";
import { longestPath } from "../../gpu-worker/sampling/verify.ts";
import type { DraftTree } from "../../shared/draft-tree.ts";
import { ROOT } from "../../shared/ids.ts";
import { Random } from "../helpers/random.ts";
import { everyTree, pathTo, randomTree } from "../helpers/trees.ts";

/** Of all nodes whose path from the root is a beginning of `text`, the deepest one's path, by comparing whole paths. */
function oracle(tree: DraftTree, text: readonly number[]): { tokens: number[]; bonus: number } {
  const paths = Array.from(tree.tokens, (_, node) => pathTo(tree, node));
  const agreeing = paths.filter((path) => path.every((token, i) => token === text[i]));
  const tokens = agreeing.reduce<number[]>((best, path) => (path.length > best.length ? path : best), []);
  return { tokens, bonus: text[tokens.length]! };
}

/** What verification makes of a model that would write `text`, wherever the model is right or wrong elsewhere. */
function verified(tree: DraftTree, text: readonly number[], elsewhere: number) {
  const asked: number[] = [];
  const { accepted, bonus } = longestPath(tree, (node, depth) => {
    asked.push(node);
    const path = node === ROOT ? [] : pathTo(tree, node);
    if (path.length !== depth) throw new Error(`asked at depth ${depth} of a path of ${path.length}`);
    return path.every((token, i) => token === text[i]) ? text[depth]! : elsewhere;
  });
  return { accepted, asked, tokens: accepted.map((node) => tree.tokens[node]!), bonus };
}

/** Every sequence of `length` tokens out of `vocabSize`. */
function* everyText(length: number, vocabSize: number): Generator<number[]> {
  for (let code = 0; code < vocabSize ** length; code++) {
    yield Array.from({ length }, (_, i) => Math.floor(code / vocabSize ** i) % vocabSize);
  }
}

test("every tree of up to five nodes over two tokens: exactly the longest greedy path is accepted", () => {
  const texts = [...everyText(6, 2)];
  let trees = 0;
  for (const tree of everyTree(5, 2)) {
    trees++;
    for (const text of texts) {
      const { tokens, bonus, asked, accepted } = verified(tree, text, 0);
      const wanted = oracle(tree, text);
      // toEqual is slow a hundred thousand times over.
      if (tokens.join() !== wanted.tokens.join() || bonus !== wanted.bonus) {
        expect({ tree, text, tokens, bonus }).toEqual({ tree, text, ...wanted });
      }
      if (asked.join() !== [ROOT, ...accepted].join()) expect(asked).toEqual([ROOT, ...accepted]);
    }
  }
  // A tree of n nodes has n + 2 places for the next one: 1 + 2 + 2*3 + ... + 2*3*4*5*6.
  expect(trees).toBe(873);
});

test("random trees up to the limit of nodes: the same", () => {
  const random = new Random(1);
  let deep = 0;
  for (let round = 0; round < 2000; round++) {
    const vocabSize = random.int(1, 4);
    const tree = randomTree(random, 63, vocabSize);
    // A text that follows the tree for a while, so that paths are accepted.
    const along = tree.tokens.length === 0 ? [] : pathTo(tree, random.int(0, tree.tokens.length - 1));
    const text = [...along, ...Array.from({ length: 64 }, () => random.int(0, vocabSize - 1))];
    const { tokens, bonus } = verified(tree, text, random.int(0, vocabSize - 1));
    expect({ tokens, bonus }).toEqual(oracle(tree, text));
    if (tokens.length > 3) deep++;
  }
  expect(deep).toBeGreaterThan(200);
});
