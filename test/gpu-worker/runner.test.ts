import { describe, expect, test } from "vitest";
import { ModelRunner, type RunnerSpec } from "../../gpu-worker/runner.ts";
import { type DraftTree, EMPTY_TREE } from "../../shared/draft-tree.ts";
import { Random } from "../helpers/random.ts";
import { everyTree, pathTo, randomTree } from "../helpers/trees.ts";
import { ToyModel, toyHash, toyLattice, toyNext } from "./toy-model.ts";

const GREEDY: RunnerSpec = {
  heads: 0,
  topK: 1,
  sampling: { temperature: 0, topP: 1, seed: 0 },
  logProbs: null,
  neural: null,
};
const PROMPT = [3, 1, 4, 1, 5];

function start(spec: RunnerSpec = GREEDY, model = new ToyModel()) {
  const runner = new ModelRunner(model, 1e9);
  runner.open(0, spec);
  return { model, runner };
}

/** The text so far plus what a step must commit, by asking the toy model about each whole text. */
function expectedStep(tokens: readonly number[], draft: DraftTree, vocabSize: number) {
  const path: number[] = [];
  const nodes = Array.from(draft.tokens, (_, node) => node);
  const accepted: number[] = [];
  for (;;) {
    const next = toyNext([...tokens, ...path], vocabSize);
    const node = nodes.find((candidate) => pathTo(draft, candidate).join() === [...path, next].join());
    if (node === undefined) return { accepted, committed: [...path, next] };
    accepted.push(node);
    path.push(next);
  }
}

describe("a step", () => {
  test("commits what the model would have said one token at a time, for every small tree", async () => {
    const { model, runner } = start(GREEDY, new ToyModel({ vocabSize: 2 }));
    const first = await runner.prefill(0, Uint32Array.of(0, 1, 1), true);
    const tokens = [0, 1, 1, first!.bonus];
    for (const tree of everyTree(4, 2)) {
      if (tokens.length > 500) {
        runner.close(0);
        runner.open(0, GREEDY);
        tokens.splice(0, tokens.length, 0, 1);
        tokens.push((await runner.prefill(0, Uint32Array.of(0, 1), true))!.bonus);
      }
      const { accepted, committed } = expectedStep(tokens, tree, 2);
      const outcome = await runner.step(0, tree);
      expect(outcome).toMatchObject({ accepted, bonus: committed.at(-1) });
      tokens.push(...committed);
    }
    expect(model.calls.length).toBeGreaterThan(150);
  });

  test("commits it for random trees, with the lattice that belongs to the text", async () => {
    const random = new Random(1);
    const { model, runner } = start({ ...GREEDY, heads: 3, topK: 4 });
    const { vocabSize } = model.shape;
    const tokens = [...PROMPT, (await runner.prefill(0, Uint32Array.from(PROMPT), true))!.bonus];
    while (tokens.length < 200) {
      const likely: number[] = [];
      while (likely.length < 4) likely.push(toyNext([...tokens, ...likely], vocabSize));
      const tree = random.chance(0.5) ? randomTree(random, 20, vocabSize) : withPath(likely, random, vocabSize);
      const { accepted, committed } = expectedStep(tokens, tree, vocabSize);
      const outcome = await runner.step(0, tree);
      tokens.push(...committed);
      expect(outcome).toMatchObject({ accepted, bonus: tokens.at(-1) });
      expect(outcome.lattice).toEqual(toyLattice(toyHash(tokens.slice(0, -1)), tokens.at(-1)!, model.shape));
    }
  });

  test("asks for no more than it needs", async () => {
    const { model, runner } = start();
    await runner.prefill(0, Uint32Array.from(PROMPT), true);
    await runner.step(0, EMPTY_TREE);
    expect(model.calls.map(({ wanted }) => wanted)).toEqual([
      { logits: false, hidden: false },
      { logits: false, hidden: false },
    ]);
    expect(model.headsCalls).toBe(0);
  });

  test("asks for logits where they are sampled from or reported", async () => {
    for (const spec of [
      { ...GREEDY, logProbs: 0 },
      { ...GREEDY, sampling: { temperature: 1, topP: 1, seed: 1 } },
    ]) {
      const { model, runner } = start(spec);
      await runner.prefill(0, Uint32Array.from(PROMPT), true);
      expect(model.calls[0]!.wanted).toEqual({ logits: true, hidden: false });
    }
  });
});

describe("the prefill", () => {
  test.each([1, 2, 3, 5])("in chunks of %i tokens gives what it gives at once", async (chunk) => {
    const { model, runner } = start({ ...GREEDY, heads: 3, topK: 4, logProbs: 2 });
    let outcome = null;
    for (let from = 0; from < PROMPT.length; from += chunk) {
      expect(outcome).toBeNull();
      const tokens = Uint32Array.from(PROMPT.slice(from, from + chunk));
      outcome = await runner.prefill(0, tokens, from + chunk >= PROMPT.length);
    }
    const whole = start({ ...GREEDY, heads: 3, topK: 4, logProbs: 2 });
    const expected = await whole.runner.prefill(0, Uint32Array.from(PROMPT), true);
    expect({ ...outcome, modelMs: 0 }).toEqual({ ...expected, modelMs: 0 });
    expect(model.headsCalls).toBe(1);
  });
});

test("sampled text does not depend on the draft", async () => {
  const spec = { ...GREEDY, sampling: { temperature: 1.2, topP: 0.8, seed: 77 } };
  const decode = async (draw: (tokens: readonly number[]) => DraftTree) => {
    const { runner } = start(spec);
    const tokens = [(await runner.prefill(0, Uint32Array.from(PROMPT), true))!.bonus];
    let accepted = 0;
    while (tokens.length < 120) {
      const draft = draw(tokens);
      const outcome = await runner.step(0, draft);
      accepted += outcome.accepted.length;
      tokens.push(...outcome.accepted.map((node) => draft.tokens[node]!), outcome.bonus);
    }
    return { tokens: tokens.slice(0, 120), accepted };
  };
  const plain = await decode(() => EMPTY_TREE);
  const random = new Random(12);
  const drafted = await decode((tokens) => withPath(plain.tokens.slice(tokens.length, tokens.length + 3), random, 16));
  expect(drafted.tokens).toEqual(plain.tokens);
  expect(drafted.accepted).toBeGreaterThan(50);
});

test("a session closed while the model runs gives its memory back and takes nothing more", async () => {
  const { model, runner } = start();
  await runner.prefill(0, Uint32Array.from(PROMPT), true);
  expect(runner.kvBytes).toBeGreaterThan(0);
  model.before = async () => runner.close(0);
  await runner.step(0, EMPTY_TREE);
  expect(runner.kvBytes).toBe(0);
  await expect(runner.step(0, EMPTY_TREE)).rejects.toMatchObject({ code: "client_closed" });
});

/** A tree that holds `path` somewhere among random branches. */
function withPath(path: readonly number[], random: Random, vocabSize: number): DraftTree {
  const tokens: number[] = [];
  const parents: number[] = [];
  const add = (token: number, parent: number) => {
    const known = tokens.findIndex((t, i) => t === token && parents[i] === parent);
    if (known >= 0) return known;
    parents.push(parent);
    return tokens.push(token) - 1;
  };
  let at = -1;
  for (const token of path) {
    for (let i = random.int(0, 2); i > 0; i--) add(random.int(0, vocabSize - 1), random.int(-1, tokens.length - 1));
    at = add(token, at);
  }
  return { tokens: Uint32Array.from(tokens), parents: Int16Array.from(parents) };
}
