import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { HEADS, K, readCases } from "../../bench/rescore/inputs.ts";
import { randomPairFile, withQueries } from "../../bench/rescore/pairs.ts";
import { measureCalibrated } from "../../bench/rescore/trees.ts";
import { ROOT } from "../../scripts/paths.ts";
import type { DraftTree } from "../../shared/draft-tree.ts";
import { narrowLattice } from "../../shared/lattice.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import { createRescorer } from "../../shared/rescore/index.ts";
import { PairScores, PairTables } from "../../shared/rescore/pair-scores.ts";

const VOCAB = 500;
const pair = new PairTables(randomPairFile(VOCAB, 3));

async function cases() {
  const all = readCases(new Uint8Array(await readFile(join(ROOT, "bench/rescore/lattices.bin"))));
  return all.slice(0, 4).map(({ history, lattice }) => ({
    history: history.map((token) => token % VOCAB),
    lattice: { ...lattice, tokens: lattice.tokens.map((token) => token % VOCAB) },
  }));
}

test("random tables and queries are the same each time, and make scores of a few nats", async () => {
  expect(randomPairFile(VOCAB, 3)).toEqual(randomPairFile(VOCAB, 3));
  const queried = withQueries(await cases(), pair.rank);
  expect(queried).toEqual(withQueries(await cases(), pair.rank));
  const scores = new PairScores(pair);
  const all = queried.flatMap(({ lattice }) => {
    scores.begin(lattice);
    expect(scores.active).toBe(true);
    scores.after(lattice.tokens[0]!);
    return Array.from({ length: K }, (_, c) => Math.abs(scores.score(lattice.tokens[(HEADS - 1) * K + c]!)));
  });
  const mean = all.reduce((a, b) => a + b, 0) / all.length;
  expect(mean).toBeGreaterThan(0.3);
  expect(mean).toBeLessThan(5);
});

test("trees and paths are timed without and with pairs, which change what is drafted", async () => {
  const model = loadPack(new Uint8Array(await readFile(join(ROOT, "models/tiny/packs/general.fdlm"))));
  const trees: DraftTree[] = [];
  const options = { cases: withQueries(await cases(), pair.rank), pair, rounds: 1, alpha: 0.2, now: () => 0 };
  const table = measureCalibrated(model, options, [4, 16], (tree) => trees.push(tree));
  const nodes = { 16: { 4: 0, 16: 0 }, 32: { 4: 0, 16: 0 }, 63: { 4: 0, 16: 0 } };
  expect(table).toEqual({ tree: nodes, tree_pair: nodes, path: { 63: nodes[63] }, path_pair: { 63: nodes[63] } });
  const tokens = trees.map((tree) => tree.tokens.join());
  const [perNodes, ofTree] = [2 * options.cases.length, 6 * options.cases.length];
  expect(tokens.slice(0, ofTree)).not.toEqual(tokens.slice(ofTree, 2 * ofTree));
  expect(tokens.slice(2 * ofTree, 2 * ofTree + perNodes)).not.toEqual(tokens.slice(2 * ofTree + perNodes));
});

test("the best path of pairs differs from the heads' alone", async () => {
  const [first] = withQueries(await cases(), pair.rank);
  const lattice = narrowLattice(first!.lattice, HEADS, K);
  const draft = (alpha: number) =>
    createRescorer({ type: "pair", alpha, pBest: 1 }, null, null, null, pair).draft(lattice, HEADS).tokens;
  expect([...draft(0)]).toEqual(Array.from({ length: HEADS }, (_, i) => lattice.tokens[i * K]!));
  expect([...draft(1)]).not.toEqual([...draft(0)]);
});
