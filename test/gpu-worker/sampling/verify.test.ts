import { expect, test } from "vitest";
import { longestPath } from "../../../gpu-worker/sampling/verify.ts";
import { ROOT } from "../../../shared/ids.ts";
import { Random } from "../../helpers/random.ts";
import { everyTree, pathTo, randomTree } from "../../helpers/trees.ts";

/** What the model chooses after each token sequence: a coin per sequence, by `seed`. */
function oracle(seed: number, vocabSize: number) {
  return (path: readonly number[]) => new Random(path.reduce((s, t) => s * 31 + t + 1, seed)).int(0, vocabSize - 1);
}

/** The longest tree path that is a prefix of the model's own text: found among all paths, not walked. */
function expected(tree: Parameters<typeof pathTo>[0], next: (path: readonly number[]) => number) {
  const text: number[] = [];
  while (text.length <= tree.tokens.length) text.push(next(text));
  const right = Array.from(tree.tokens, (_, node) => node).filter((node) =>
    pathTo(tree, node).every((token, i) => token === text[i]),
  );
  right.sort((a, b) => pathTo(tree, a).length - pathTo(tree, b).length);
  return { accepted: right, bonus: text[right.length] };
}

test("every tree of up to 5 nodes over 2 tokens is verified as by its definition", () => {
  let trees = 0;
  for (const tree of everyTree(5, 2)) {
    const next = oracle(trees++, 2);
    const verdict = longestPath(tree, (node) => next(node === ROOT ? [] : pathTo(tree, node)));
    expect(verdict).toEqual(expected(tree, next));
  }
  expect(trees).toBe(873);
});

test("random trees up to the largest size, asked for each accepted node once, with its depth", () => {
  const random = new Random(11);
  for (let round = 0; round < 300; round++) {
    const tree = randomTree(random, 63, 3);
    const next = oracle(round, 3);
    const asked: [number, number][] = [];
    const verdict = longestPath(tree, (node, depth) => {
      asked.push([node, depth]);
      return next(node === ROOT ? [] : pathTo(tree, node));
    });
    expect(verdict).toEqual(expected(tree, next));
    expect(asked).toEqual([ROOT, ...verdict.accepted].map((node, depth) => [node, depth]));
  }
});
