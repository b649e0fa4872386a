import { describe, expect, test } from "vitest";
import { CopySources, copiedMasses, LONGEST_MATCH, mixCopies } from "../../gpu-worker/copy-heads.ts";
import { chain } from "../../shared/draft-tree.ts";
import { createLattice, type Lattice } from "../../shared/lattice.ts";
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

/** Of `sources`, as everySource lists them. */
function listed(sources: CopySources): [number, number][] {
  return Array.from({ length: sources.count }, (_, s) => [sources.match[s]!, sources.at[s]!]);
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

function randomParams(random: Random, heads: number): CopyHeads {
  const row = (length: number) => Array.from({ length }, () => random.unit() * 4 - 2);
  const perMatch = () => Array.from({ length: heads }, () => row(LONGEST_MATCH + 1));
  return { match: perMatch(), age: row(heads), gateMatch: perMatch(), gateAgree: row(heads) };
}

/** [token, probability] of row j mixed with copies, likeliest first, from the definitions alone. */
function mixture(lattice: Lattice, j: number, gate: number, text: readonly number[], given: CopyHeads) {
  const sources = everySource(text).slice(0, 16);
  const n = text.length - 1;
  // What is beyond the text's end repeats it from the source on.
  const follows = (index: number): number => {
    const endless = [...text];
    for (let at = n + 1; at <= n + 1 + j; at++) endless.push(endless[at - (n - index)]!);
    return endless[index + 1 + j]!;
  };
  const weights = sources.map(([match, index]) =>
    Math.exp(given.match[j]![match]! + given.age[j]! * Math.log(n - index)),
  );
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const copies = new Map<number, number>();
  for (const [s, [, index]] of sources.entries()) {
    const token = follows(index);
    copies.set(token, (copies.get(token) ?? 0) + weights[s]! / total);
  }
  const heads = new Map<number, number>();
  for (let r = 0; r < lattice.k; r++)
    heads.set(lattice.tokens[j * lattice.k + r]!, lattice.logProbs[j * lattice.k + r]!);
  let share = 0;
  if (sources.length > 0) {
    const agree = Math.max(...copies.values());
    share = 1 / (1 + Math.exp(-(gate + given.gateMatch[j]![sources[0]![0]]! + given.gateAgree[j]! * agree)));
  }
  const tokens = [...new Set([...heads.keys(), ...copies.keys()])];
  const probability = (token: number) =>
    (1 - share) * Math.exp(heads.get(token) ?? Number.NEGATIVE_INFINITY) + share * (copies.get(token) ?? 0);
  return tokens.map((token) => [token, probability(token)] as const).sort((a, b) => b[1] - a[1]);
}

describe("the sources of the newest token", () => {
  test("are the longest matches, the newest of equal ones, at most 16", () => {
    const random = new Random(5);
    for (let round = 0; round < 200; round++) {
      const text = Array.from({ length: random.int(1, 60) }, () => random.int(0, 3));
      expect(listed(sourcesOf(text))).toEqual(everySource(text).slice(0, 16));
    }
  });

  test("stay right as a long text grows", () => {
    const text = Array.from({ length: 1000 }, (_, i) => (i * i) % 97);
    expect(listed(sourcesOf(text))).toEqual(everySource(text).slice(0, 16));
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

  test("keeps the lattice's query", () => {
    const query = { values: Int8Array.of(3, -4), scales: [1, 2] } as const;
    const mixed = mixCopies({ ...lattice, query }, Float32Array.of(0), sourcesOf([4, 9, 4, 6, 4]), params(1, 0));
    expect([...mixed.tokens]).toEqual([6, 5]);
    expect(mixed.query).toEqual(query);
  });

  test("leaves the lattice as it is without a source", () => {
    const mixed = mixCopies(lattice, Float32Array.of(9), sourcesOf([1, 2, 3]), params(1, 9));
    expect(mixed).toEqual({ ...lattice, gates: Float32Array.of(0) });
  });

  test("gives what the formulas of train/copies.py give, the likeliest first", () => {
    const random = new Random(7);
    for (let round = 0; round < 200; round++) {
      const text = Array.from({ length: random.int(2, 40) }, () => random.int(0, 7));
      const rows = toyLattice(round, 1, { ...new ToyModel().shape, latticeHeads: 3, topK: 4, vocabSize: 12 });
      const gate = Float32Array.from({ length: 3 }, () => random.unit() * 6 - 3);
      const given = randomParams(random, 3);
      const mixed = mixCopies(rows, gate, sourcesOf(text), given);
      const copied = copiedMasses(mixed, sourcesOf(text), given);
      for (let j = 0; j < 3; j++) {
        const expected = mixture(rows, j, gate[j]!, text, given);
        const own = new Map(Array.from({ length: 4 }, (_, r) => [rows.tokens[j * 4 + r]!, rows.logProbs[j * 4 + r]!]));
        for (let r = j * 4; r < (j + 1) * 4; r++) {
          const rank = r - j * 4;
          expect(Math.exp(mixed.logProbs[r]!), `round ${round}`).toBeCloseTo(expected[rank]![1], 5);
          expect(expected.find(([token]) => token === mixed.tokens[r])![1]).toBeCloseTo(expected[rank]![1], 5);
          // Copied or not, the rest is the head's part.
          const head = (1 - mixed.gates![j]!) * Math.exp(own.get(mixed.tokens[r]!) ?? -Infinity);
          expect(Math.exp(mixed.logProbs[r]!) - copied[r]!).toBeCloseTo(head, 5);
        }
      }
    }
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
        expect(new Set(mixed.tokens.subarray(j * 4, j * 4 + 4)).size).toBe(4);
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
    const sources = everySource(text).slice(0, 16);
    if (sources.length > 0) {
      // With the gates open all the way only copies are left at the top of each row.
      expect(sources.map(([, index]) => text[index + 1])).toContain(outcome!.lattice.tokens[0]);
    } else {
      const lattice = toyLattice(toyHash(text.slice(0, -1)), text.at(-1)!, model.shape);
      expect(outcome!.lattice).toEqual({ ...lattice, gates: new Float32Array(3) });
    }
    const draft = chain(outcome!.lattice.tokens.subarray(0, 1));
    outcome = await session.step(draft);
    text.push(...outcome.accepted.map((node) => draft.tokens[node]!));
  }
});
