import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createLattice } from "../../shared/lattice.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import { EMPTY_STATE } from "../../shared/ngram/model.ts";
import { PathSearch } from "../../shared/rescore/p-best.ts";
import { readArpa } from "../../train/ngram/arpa.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { HASH } from "../ngram/helpers.ts";

/** Written by train/export_ngram_golden.py: the shortest paths of OpenFst's composition of lattice and model. */
interface OpenFstFixture {
  readonly vocabSize: number;
  /** Every value a sixteenth of a nat, so that the pack holds it exactly. */
  readonly arpa: readonly string[];
  readonly cases: readonly {
    readonly order: number;
    readonly alpha: number;
    readonly history: readonly number[];
    /** [heads][k] */
    readonly tokens: readonly (readonly number[])[];
    readonly logProbs: readonly (readonly number[])[];
    /** Best first; their scores are further apart than OpenFst's float32 sums err. */
    readonly paths: readonly { readonly tokens: readonly number[]; readonly score: number }[];
  }[];
}

const fixture: OpenFstFixture = JSON.parse(readFileSync(new URL("fixtures/openfst.json", import.meta.url), "utf8"));
const pack = loadPack(writePack(await readArpa(fixture.arpa, fixture.vocabSize), HASH));

test.each(fixture.cases)("the p best paths are OpenFst's: order $order, alpha $alpha", (example) => {
  const heads = example.tokens.length;
  const k = example.tokens[0]!.length;
  const { tokens, logProbs } = example;
  const lattice = createLattice(heads, k, Uint32Array.from(tokens.flat()), Float32Array.from(logProbs.flat()));
  const model = pack.withOrder(example.order);
  let state = EMPTY_STATE;
  for (const token of example.history) {
    model.score(state, token);
    state = model.next;
  }
  const search = new PathSearch(model, example.alpha);
  search.run(lattice, heads, state, example.paths.length);
  const found = example.paths.map((_, path) => tokens.map((row, column) => row[search.rank(path, column)]!));
  expect(found).toEqual(example.paths.map((path) => path.tokens));
  example.paths.forEach(({ score }, path) => {
    expect(Math.abs(search.scores[path]! / 2 ** 30 - score)).toBeLessThan(1e-3);
  });
});
