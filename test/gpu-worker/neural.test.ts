import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CopySources, copiedMasses, LONGEST_MATCH } from "../../gpu-worker/copy-heads.ts";
import { LocalRescorer, type NeuralInputs, type NeuralModel, rerank } from "../../gpu-worker/neural.ts";
import { loadNeural } from "../../gpu-worker/onnx/neural.ts";
import type { RunnerSpec } from "../../gpu-worker/runner.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { chain } from "../../shared/draft-tree.ts";
import { createLattice, type Lattice } from "../../shared/lattice.ts";
import { Random } from "../helpers/random.ts";
import { ToyModel, toyNext } from "./toy-model.ts";
import { ToySession } from "./toy-session.ts";

const SPEC: RunnerSpec = {
  heads: 3,
  topK: 4,
  sampling: { temperature: 0, topP: 1, seed: 0 },
  logProbs: null,
  neural: 0.5,
};
const PROMPT = [3, 1, 4, 1, 5];

/** Remembers what it was told; prefers candidates of higher id. Its state counts the tokens read. */
class ToyNeural implements NeuralModel {
  readonly size = 1;
  readonly calls: NeuralInputs[] = [];

  async run(inputs: NeuralInputs) {
    this.calls.push({ ...inputs, committed: Array.from(inputs.committed) });
    const state = Float32Array.of(inputs.state[0]! + inputs.committed.length);
    return { state, scores: Float32Array.from(inputs.lattice.tokens, (token) => token - 100) };
  }

  async release(): Promise<void> {}
}

function randomLattice(random: Random, heads: number, k: number, vocabSize: number): Lattice {
  const first = Array.from({ length: heads }, () => random.int(0, vocabSize - k));
  const tokens = Uint32Array.from({ length: heads * k }, (_, i) => first[Math.floor(i / k)]! + (i % k));
  const logProbs = Float32Array.from({ length: heads * k }, (_, i) => -1.2 - (i % k) * (1 + random.unit()));
  for (let row = 0; row < heads; row++) logProbs.subarray(row * k, (row + 1) * k).sort((a, b) => b - a);
  return createLattice(heads, k, tokens, logProbs);
}

describe("re-ranking", () => {
  test("orders every column by score, which becomes its log-probability", () => {
    const random = new Random(1);
    for (let round = 0; round < 200; round++) {
      const lattice = randomLattice(random, random.int(1, 8), random.int(1, 16), 100);
      const scores = Float32Array.from(lattice.tokens, () => -9 * random.unit());
      const ranked = rerank(lattice, scores);
      const { k } = lattice;
      for (let from = 0; from < scores.length; from += k) {
        const order = [...lattice.tokens.keys()].slice(from, from + k).sort((a, b) => scores[b]! - scores[a]!);
        expect([...ranked.tokens.subarray(from, from + k)]).toEqual(order.map((at) => lattice.tokens[at]));
        expect([...ranked.logProbs.subarray(from, from + k)]).toEqual(order.map((at) => scores[at]));
      }
    }
  });

  test("keeps the first of equal scores first: the graph went on with it", () => {
    const lattice = createLattice(1, 3, Uint32Array.of(9, 4, 7), Float32Array.of(-1, -2, -3));
    expect([...rerank(lattice, Float32Array.of(-5, -1, -1)).tokens]).toEqual([4, 7, 9]);
  });

  test("keeps the lattice's query", async () => {
    const query = { values: Int8Array.of(3, -4), scales: [1, 2] } as const;
    const lattice = { ...createLattice(1, 2, Uint32Array.of(1, 2), Float32Array.of(-1, -2)), query };
    expect(rerank(lattice, Float32Array.of(-3, -1)).query).toEqual(query);
    const local = LocalRescorer.for({ neural: 0.5, heads: 1 }, new ToyNeural());
    expect((await local!.rescore(lattice, 7, Float32Array.of(0, 0))).query).toEqual(query);
  });

  test("never rises above certainty", () => {
    const lattice = createLattice(1, 2, Uint32Array.of(1, 2), Float32Array.of(0, -20));
    expect([...rerank(lattice, Float32Array.of(0.001, -30)).logProbs]).toEqual([0, -30]);
  });
});

describe("a session", () => {
  test("of no weight never runs it, and its lattices are the heads', bit for bit", async () => {
    for (const spec of [{ neural: null }, { neural: 0 }]) {
      const neural = new ToyNeural();
      const got = await new ToySession({ ...SPEC, ...spec }, PROMPT, new ToyModel(), neural).extend(PROMPT.length);
      const expected = await new ToySession({ ...SPEC, neural: null }, PROMPT).extend(PROMPT.length);
      expect(got?.lattice).toEqual(expected?.lattice);
      expect(neural.calls).toEqual([]);
    }
  });

  test.each([1, 2, 5])("reads every committed token once, in order, the prompt in chunks of %i", async (chunk) => {
    const neural = new ToyNeural();
    const model = new ToyModel();
    const session = new ToySession(SPEC, PROMPT, model, neural);
    const tokens = [...PROMPT];
    for (let from = 0; from < PROMPT.length; from += chunk) {
      const outcome = await session.extend(Math.min(chunk, PROMPT.length - from));
      if (outcome !== null) tokens.push(outcome.bonus);
    }
    for (let step = 0; step < 6; step++) {
      const right = toyNext(tokens, model.shape.vocabSize);
      const draft = chain([step % 2 === 0 ? right : (right + 1) % model.shape.vocabSize]);
      // Now and then there is no lattice.
      const outcome = await session.step(draft, step !== 3);
      tokens.push(...outcome.accepted.map((node) => draft.tokens[node]!), outcome.bonus);
    }
    expect(neural.calls).toHaveLength(6);
    expect(neural.calls.flatMap(({ committed }) => Array.from(committed))).toEqual(tokens.slice(0, -1));
    expect(neural.calls.at(-1)!.bonus).toBe(tokens.at(-1));
    // Each call starts from the state the one before ended with.
    let read = 0;
    for (const { state, committed } of neural.calls) {
      expect(state[0]).toBe(read);
      read += committed.length;
    }
  });

  test("is told what of each candidate's probability was copied; of heads that do not copy, nothing", async () => {
    // All that is known of a text of one token, repeated: it goes on.
    const prompt = [7, 7, 7, 7];
    const row = (value: number) => Array.from({ length: LONGEST_MATCH + 1 }, () => value);
    const flat = [0, 0, 0];
    const copyHeads = { match: flat.map(() => row(0)), age: flat, gateMatch: flat.map(() => row(1)), gateAgree: flat };
    const neural = new ToyNeural();
    const session = new ToySession(SPEC, prompt, new ToyModel({ copyHeads }), neural);
    let { bonus } = (await session.extend(prompt.length))!;
    const text = [...prompt, bonus];
    for (let step = 0; step < 20; step++) {
      ({ bonus } = await session.step(chain([])));
      text.push(bonus);
    }
    let copying = 0;
    for (const [call, { copied, lattice }] of neural.calls.entries()) {
      const sources = new CopySources();
      for (const token of text.slice(0, prompt.length + 1 + call)) sources.push(token);
      sources.find();
      const share = sources.count === 0 ? 0 : 1 / (1 + Math.exp(-1));
      expect([...lattice.gates!]).toEqual(flat.map(() => Math.fround(share)));
      expect(copied).toEqual(copiedMasses(lattice, sources, copyHeads));
      const most = [...copied].map((part, i) => part - Math.exp(lattice.logProbs[i]!));
      expect(Math.max(...most)).toBeLessThan(1e-3);
      copying += Number(copied.some((part) => part > 0));
    }
    expect(copying).toBeGreaterThan(5);
    const plain = new ToyNeural();
    await new ToySession(SPEC, prompt, new ToyModel(), plain).extend(prompt.length);
    expect(plain.calls[0]!.copied).toEqual(new Float32Array(SPEC.heads * SPEC.topK));
  });

  test("reads only the end of a long prompt, however it was cut", async () => {
    const prompt = Array.from({ length: 300 }, (_, i) => i % 16);
    for (const chunk of [300, 128, 7]) {
      const neural = new ToyNeural();
      const local = new LocalRescorer(neural, 0.5);
      for (let from = 0; from < prompt.length; from += chunk) local.commit(prompt.slice(from, from + chunk));
      await local.rescore(randomLattice(new Random(1), 2, 3, 16), 5, new Float32Array(6));
      expect(Array.from(neural.calls[0]!.committed)).toEqual(prompt.slice(-64));
    }
  });
});

describe("the graph of tiny", () => {
  let model: NeuralModel;
  beforeAll(async () => {
    model = await loadNeural(join(await ensureBundle("tiny"), "neural.onnx"));
  });
  afterAll(() => model?.release());

  test("has the same state after tokens read a few at a time as after all at once", async () => {
    const random = new Random(8);
    for (let round = 0; round < 10; round++) {
      const text = Array.from({ length: random.int(8, 60) }, () => random.int(3, 2000));
      const steps = new LocalRescorer(model, 0.6);
      let at = random.int(1, 4);
      steps.commit(text.slice(0, at));
      let bonus = text[at++]!;
      let last = await steps.rescore(randomLattice(random, 3, 5, 2000), bonus, new Float32Array(15));
      const lattice = randomLattice(random, 7, 16, 2000);
      const copied = lattice.logProbs.map((value, i) => (i % 3) * 0.4 * Math.exp(value));
      while (at < text.length) {
        const end = Math.min(text.length - 1, at + random.int(0, 3));
        steps.commit(text.slice(at, end));
        bonus = text[end]!;
        at = end + 1;
        last = await steps.rescore(lattice, bonus, copied);
      }
      const once = new LocalRescorer(model, 0.6);
      once.commit(text.slice(0, -1));
      const expected = await once.rescore(lattice, bonus, copied);
      expect(last.tokens).toEqual(expected.tokens);
      for (const [i, value] of last.logProbs.entries()) expect(value).toBeCloseTo(expected.logProbs[i]!, 4);
    }
  });

  test("choosing a candidate changes what is thought of the next ones", async () => {
    const committed = [5, 9, 2];
    const scoresAfter = async (token: number) => {
      const lattice = createLattice(2, 2, Uint32Array.of(token, 300, 301, 302), Float32Array.of(-0.1, -90, -1, -1));
      const inputs = { state: new Float32Array(model.size), committed, bonus: 7, lattice, copied: new Float32Array(4) };
      return (await model.run({ ...inputs, alpha: 0.5 })).scores.slice(2);
    };
    expect(await scoresAfter(40)).not.toEqual(await scoresAfter(41));
    expect(await scoresAfter(40)).toEqual(await scoresAfter(40));
  });
});
