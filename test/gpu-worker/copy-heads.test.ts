import { describe, expect, test } from "vitest";
import { CopySources, LONGEST_MATCH, mixCopies } from "../../gpu-worker/copy-heads.ts";
import { chain } from "../../shared/draft-tree.ts";
import { createLattice } from "../../shared/lattice.ts";
import type { CopyHeads } from "../../shared/manifest.ts";
import { Random } from "../helpers/random.ts";
import { ToyModel, toyHash, toyLattice } from "./toy-model.ts";
import { GREEDY, ToySession } from "./toy-session.ts";

function sourcesOf(text: readonly number[]): CopySources {
  const sources = new CopySources();
  for (const token of text) sources.push(token);
  sources.find();
  return sources;
}

/** [match length, index] of every earlier occurrence of the last token, as train/copies.py defines them. */
function everySource(text: readonly number[]): [number, number][] {
  const n = text.length - 1;
  const found: [number, number][] = [];
  for (let e = 0; e < n; e++) {
    let length = 0;
    while (length < LONGEST_MATCH && e - length >= 0 && text[e - length] === text[n - length]) length++;
    if (length > 0) found.push([length, e]);
  }
  return found.sort((a, b) => b[0] - a[0] || b[1] - a[1]);
}

/** Scores by match length alone; gates wide open but where they are told not to be. */
function params(heads: number, gate: number): CopyHeads {
  const perMatch = () => Array.from({ length: heads }, () => Array.from({ length: LONGEST_MATCH + 1 }, (_, m) => m));
  const flat = Array.from({ length: heads }, () => 0);
  return {
    match: perMatch(),
    age: flat,
    gateMatch: perMatch().map((row) => row.map(() => gate)),
    gateAgree: flat,
  };
}

describe("the sources of the newest token", () => {
  test("are the longest matches, the newest of equal ones, at most 16", () => {
    const random = new Random(5);
    for (let round = 0; round < 200; round++) {
      const text = Array.from({ length: random.int(1, 60) }, () => random.int(0, 3));
      const sources = sourcesOf(text);
      const found = Array.from({ length: sources.count }, (_, s) => [sources.match[s]!, sources.at[s]!]);
      expect(found).toEqual(everySource(text).slice(0, 16));
    }
  });

  test("stay right as a long text grows", () => {
    const text = Array.from({ length: 1000 }, (_, i) => (i * i) % 97);
    expect(sourcesOf(text).count).toBe(Math.min(16, everySource(text).length));
  });

  test("propose what followed, periodically beyond the end", () => {
    const sources = sourcesOf([7, 1, 2, 3, 1]);
    expect([1, 2, 3, 4, 5].map((ahead) => sources.proposal(0, ahead))).toEqual([2, 3, 1, 2, 3]);
  });
});

describe("mixing copies into a lattice", () => {
  const lattice = createLattice(1, 2, Uint32Array.of(5, 6), Float32Array.of(Math.log(0.6), Math.log(0.3)));

  test("gives the probabilities of the mixture", () => {
    // Two sources of match 1: 9 and 6 followed, with equal probability.
    const mixed = mixCopies(lattice, Float32Array.of(0), sourcesOf([4, 9, 4, 6, 4]), params(1, 0));
    expect([...mixed.tokens]).toEqual([6, 5]);
    expect([...mixed.logProbs].map(Math.exp)).toEqual([expect.closeTo(0.15 + 0.25), expect.closeTo(0.3)]);
  });

  test("leaves the lattice as it is without a source", () => {
    expect(mixCopies(lattice, Float32Array.of(9), sourcesOf([1, 2, 3]), params(1, 9))).toBe(lattice);
  });

  test("keeps rows distinct, falling and at most certain", () => {
    const random = new Random(6);
    for (let round = 0; round < 100; round++) {
      const text = Array.from({ length: 40 }, () => random.int(0, 7));
      const rows = toyLattice(round, 1, { ...new ToyModel().shape, latticeHeads: 3, topK: 4, vocabSize: 400 });
      const gate = Float32Array.from({ length: 3 }, () => random.unit() * 60 - 30);
      const mixed = mixCopies(rows, gate, sourcesOf(text), params(3, 0));
      for (let j = 0; j < 3; j++) {
        const row = [...mixed.logProbs.subarray(j * 4, j * 4 + 4)];
        expect(row).toEqual(row.toSorted((a, b) => b - a));
        expect(Math.max(...row)).toBeLessThanOrEqual(0);
      }
    }
  });
});

test("a session's lattice copies from its own committed text", async () => {
  const model = new ToyModel({ copyHeads: params(3, 1000) });
  const text = [1, 2, 3, 1, 2, 3, 1, 2, 3];
  const session = new ToySession({ ...GREEDY, heads: 3, topK: 4 }, text, model);
  let outcome = await session.extend(text.length);
  for (let step = 0; step < 40; step++) {
    text.push(outcome!.bonus);
    const sources = sourcesOf(text);
    if (sources.count > 0) {
      // With the gates open all the way only copies are left at the top of each row.
      const proposed = Array.from({ length: sources.count }, (_, s) => sources.proposal(s, 1));
      expect(proposed).toContain(outcome!.lattice.tokens[0]);
    } else {
      expect(outcome!.lattice).toEqual(toyLattice(toyHash(text.slice(0, -1)), text.at(-1)!, model.shape));
    }
    const draft = chain(outcome!.lattice.tokens.subarray(0, 1));
    outcome = await session.step(draft);
    text.push(...outcome.accepted.map((node) => draft.tokens[node]!));
  }
});
