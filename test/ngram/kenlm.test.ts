import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { loadPack } from "../../shared/ngram/format.ts";
import { readArpa } from "../../train/ngram/arpa.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { type Scorer, TableModel } from "../../train/ngram/table-model.ts";
import { SEPARATOR } from "../../train/ngram/token-file.ts";
import { trainTable } from "../../train/ngram/train.ts";
import { HASH } from "./helpers.ts";

/** Written by train/export_ngram_golden.py: KenLM's own scores, in nats, of every token of `others`. */
interface KenlmFixture {
  readonly vocabSize: number;
  readonly documents: readonly (readonly number[])[];
  readonly others: readonly (readonly number[])[];
  /** A model that lmplz estimated from `documents`. */
  readonly lmplz: { readonly arpa: readonly string[]; readonly scores: readonly (readonly number[])[] };
  /** What `npm run ngram` trained on `documents` and exported. */
  readonly ours: { readonly scores: readonly (readonly number[])[] };
}

const fixture: KenlmFixture = JSON.parse(readFileSync(new URL("fixtures/kenlm.json", import.meta.url), "utf8"));
const { vocabSize, documents, others } = fixture;

function scores(model: Scorer): number[][] {
  return others.map((document) => {
    let state = 0;
    return document.map((token) => {
      const score = model.score(state, token);
      state = model.next;
      return score;
    });
  });
}

function largestDifference(found: readonly number[][], expected: KenlmFixture["ours"]["scores"]): number {
  return Math.max(...found.flatMap((row, i) => row.map((score, t) => Math.abs(score - expected[i]![t]!))));
}

describe("KenLM", () => {
  test("a model of lmplz, imported, gives KenLM's scores", async () => {
    const table = await readArpa(fixture.lmplz.arpa, vocabSize);
    expect(largestDifference(scores(new TableModel(table)), fixture.lmplz.scores)).toBeLessThan(1e-4);
    const pack = loadPack(writePack(table, HASH));
    // Rounded: a probability and up to three backoff weights.
    expect(largestDifference(scores(pack), fixture.lmplz.scores)).toBeLessThan(0.25);
  });

  test("KenLM scores our exported model as we score the pack", () => {
    const tokens = Uint16Array.from(documents.flatMap((document) => [...document, SEPARATOR]));
    const options = { order: 4, vocabSize, thresholds: [0, 0, 1, 1], maxBytes: 1 << 20 };
    const table = trainTable([{ tokens, weight: 1, split: null }], options);
    const pack = loadPack(writePack(table, HASH));
    expect(largestDifference(scores(pack), fixture.ours.scores)).toBeLessThan(1e-4);
    expect(largestDifference(scores(new TableModel(table)), fixture.ours.scores)).toBeLessThan(0.25);
  });
});
