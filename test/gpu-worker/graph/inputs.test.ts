import { expect, test } from "vitest";
import { type GraphInputs, InputBuilder, MASKED } from "../../../gpu-worker/graph/inputs.ts";
import type { Segment } from "../../../gpu-worker/model.ts";
import { chain, type DraftTree, EMPTY_TREE } from "../../../shared/draft-tree.ts";
import { Random } from "../../helpers/random.ts";
import { pathTo, randomTree } from "../../helpers/trees.ts";

const UNUSED = { pages: new Int32Array(0), logits: false } as const;

/** Rows of a text after `length` tokens of it. */
function piece(tokens: readonly number[], length: number, wanted: Segment["wanted"] = "last"): Segment {
  return { ...UNUSED, tokens: Uint32Array.from(tokens), parents: null, length, wanted };
}

/** The root after `length` tokens, then the draft's nodes. */
function step(root: number, draft: DraftTree, length: number): Segment {
  const parents = Int16Array.of(-1, ...draft.parents.map((parent) => parent + 1));
  return { ...UNUSED, tokens: Uint32Array.of(root, ...draft.tokens), parents, length, wanted: "all" };
}

/** The columns that each row may look at. */
function visible({ count, bias }: GraphInputs, capacity: number): number[][] {
  expect(bias).toHaveLength(count * (capacity + count));
  expect(bias.every((value) => value === 0 || value === MASKED)).toBe(true);
  const columns = Array.from({ length: capacity + count }, (_, column) => column);
  return Array.from({ length: count }, (_, row) =>
    columns.filter((column) => bias[row * (capacity + count) + column] === 0),
  );
}

test("a prompt's rows see the past and what precedes them; only the last is wanted", () => {
  const inputs = new InputBuilder().rows(piece([7, 8, 9], 2), 4);
  expect([...inputs.tokens]).toEqual([7, 8, 9]);
  expect([...inputs.positions]).toEqual([2, 3, 4]);
  expect([...inputs.rows]).toEqual([2]);
  expect(visible(inputs, 4)).toEqual([
    [0, 1, 4],
    [0, 1, 4, 5],
    [0, 1, 4, 5, 6],
  ]);
});

test("where no row is wanted the graph, which needs one, is given the last", () => {
  expect([...new InputBuilder().rows(piece([7, 8, 9], 2, "none"), 4).rows]).toEqual([2]);
});

test("a step without a draft is the root alone", () => {
  const inputs = new InputBuilder().rows(step(5, EMPTY_TREE, 3), 64);
  expect([...inputs.tokens, ...inputs.positions, ...inputs.rows]).toEqual([5, 3, 0]);
  expect(visible(inputs, 64)).toEqual([[0, 1, 2, 64]]);
});

test("a chain sees what the prompt's rows would", () => {
  const builder = new InputBuilder();
  const asTree = visible(builder.rows(step(5, chain([6, 7, 8]), 3), 8), 8);
  expect(asTree).toEqual(visible(builder.rows(piece([5, 6, 7, 8], 3), 8), 8));
});

test("a node sees the past, the root, its ancestors and itself, whatever the arrays held before", () => {
  const random = new Random(2);
  const builder = new InputBuilder();
  for (let round = 0; round < 200; round++) {
    const tree = randomTree(random, 20, 5);
    const length = random.int(0, 30);
    const capacity = Math.max(1, length + random.int(0, 9));
    const inputs = builder.rows(step(1, tree, length), capacity);
    const past = Array.from({ length }, (_, i) => i);
    const ancestors = (node: number): number[] => (node < 0 ? [] : [...ancestors(tree.parents[node]!), node]);
    const nodes = Array.from(tree.tokens, (_, node) => node);
    expect(visible(inputs, capacity)).toEqual([
      [...past, capacity],
      ...nodes.map((node) => [...past, capacity, ...ancestors(node).map((a) => capacity + 1 + a)]),
    ]);
    expect([...inputs.tokens]).toEqual([1, ...tree.tokens]);
    expect([...inputs.positions]).toEqual([length, ...nodes.map((node) => length + pathTo(tree, node).length)]);
    expect([...inputs.rows]).toEqual([0, ...nodes.map((node) => node + 1)]);
  }
});
