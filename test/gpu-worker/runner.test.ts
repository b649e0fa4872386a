import { describe, expect, test } from "vitest";
import { ModelRunner, type RunnerSpec } from "../../gpu-worker/runner.ts";
import { chain, type DraftTree, EMPTY_TREE, treeOf } from "../../shared/draft-tree.ts";
import { pairQuery } from "../../shared/lattice.ts";
import { gapOf } from "../../shared/runners-up.ts";
import { Random } from "../helpers/random.ts";
import { everyTree, pathTo, randomTree } from "../helpers/trees.ts";
import { ToyModel, toyHash, toyLattice, toyLogits, toyNext, toyQuery } from "./toy-model.ts";
import { GREEDY, ToySession } from "./toy-session.ts";

const PROMPT = [3, 1, 4, 1, 5];

/** A session whose prompt has been run, and its first outcome. */
async function start(spec: RunnerSpec = GREEDY, prompt: readonly number[] = PROMPT, model = new ToyModel()) {
  const session = new ToySession(spec, prompt, model);
  const first = (await session.extend(prompt.length))!;
  return { model, session, first };
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
    const model = new ToyModel({ vocabSize: 2 });
    let { session, first } = await start(GREEDY, [0, 1, 1], model);
    const tokens = [0, 1, 1, first.bonus];
    for (const tree of everyTree(4, 2)) {
      if (tokens.length > 500) {
        ({ session, first } = await start(GREEDY, [0, 1], model));
        tokens.splice(0, tokens.length, 0, 1, first.bonus);
      }
      const { accepted, committed } = expectedStep(tokens, tree, 2);
      const outcome = await session.step(tree);
      expect(outcome).toMatchObject({ accepted, bonus: committed.at(-1) });
      tokens.push(...committed);
    }
    expect(model.calls.length).toBeGreaterThan(150);
  });

  test("commits it for random trees, with the lattice that belongs to the text", async () => {
    const random = new Random(1);
    const { model, session, first } = await start({ ...GREEDY, heads: 3, topK: 4 });
    const { vocabSize } = model.shape;
    const tokens = [...PROMPT, first.bonus];
    while (tokens.length < 200) {
      const likely: number[] = [];
      while (likely.length < 4) likely.push(toyNext([...tokens, ...likely], vocabSize));
      const tree = random.chance(0.5) ? randomTree(random, 20, vocabSize) : withPath(likely, random, vocabSize);
      const { accepted, committed } = expectedStep(tokens, tree, vocabSize);
      const outcome = await session.step(tree);
      tokens.push(...committed);
      expect(outcome).toMatchObject({ accepted, bonus: tokens.at(-1) });
      expect(outcome.lattice).toEqual(toyLattice(toyHash(tokens.slice(0, -1)), tokens.at(-1)!, model.shape));
    }
  });

  test("asks for no more than it needs", async () => {
    const { model, session } = await start();
    await session.step(EMPTY_TREE);
    expect(model.calls.map(([segment]) => [segment!.wanted, segment!.logits])).toEqual([
      ["last", false],
      ["all", false],
    ]);
    expect(model.headsCalls).toEqual([]);
  });

  test("asks for logits where they are sampled from or reported", async () => {
    for (const spec of [
      { ...GREEDY, logProbs: 0 },
      { ...GREEDY, sampling: { temperature: 1, topP: 1, seed: 1 } },
    ]) {
      const { model } = await start(spec);
      expect(model.calls[0]![0]!.logits).toBe(true);
    }
  });

  test("lists the likeliest tokens beside every committed one, where asked for", async () => {
    const { model, session, first } = await start({ ...GREEDY, runnersUp: 3 });
    const { vocabSize } = model.shape;
    const text = [...PROMPT, first.bonus];
    const likely = [toyNext(text, vocabSize)];
    likely.push(toyNext([...text, ...likely], vocabSize));
    const { accepted, bonus, runnersUp } = await session.step(chain(likely));
    expect([accepted.length, runnersUp.k, runnersUp.tokens.length]).toEqual([2, 3, 9]);
    for (const [row, token] of [...likely, bonus].entries()) {
      const logits = toyLogits(toyHash([...text, ...likely.slice(0, row)]), vocabSize);
      const others = [...logits.keys()].filter((one) => one !== token);
      others.sort((a, b) => logits[b]! - logits[a]! || a - b);
      expect([...runnersUp.tokens.subarray(3 * row, 3 * row + 3)]).toEqual(others.slice(0, 3));
      expect(runnersUp.gaps[3 * row]).toBe(gapOf(Math.max(...logits) - logits[others[0]!]!));
    }
    expect((await start()).first.runnersUp.k).toBe(0);
  });

  test("makes no lattice where none is wanted this time", async () => {
    const { model, session } = await start({ ...GREEDY, heads: 3, topK: 4 });
    expect((await session.step(EMPTY_TREE, false)).lattice.heads).toBe(0);
    expect((await session.step(EMPTY_TREE)).lattice.heads).toBe(3);
    expect(model.headsCalls).toEqual([1, 1]);
  });
});

describe("the prefill", () => {
  test.each([1, 2, 3, 5])("in chunks of %i tokens gives what it gives at once", async (chunk) => {
    const spec = { ...GREEDY, heads: 3, topK: 4, logProbs: 2 };
    const session = new ToySession(spec, PROMPT);
    let outcome = null;
    for (let from = 0; from < PROMPT.length; from += chunk) {
      expect(outcome).toBeNull();
      outcome = await session.extend(Math.min(chunk, PROMPT.length - from));
    }
    expect(outcome).toEqual((await start(spec)).first);
    expect(session.model.headsCalls).toEqual([1]);
  });
});

test("sessions share a pass, and one call of the heads", async () => {
  const model = new ToyModel();
  const runner = new ModelRunner(model);
  const prompts = [[1, 2, 3], [4, 5], [6]];
  for (const [id, prompt] of prompts.entries()) {
    const spec = { ...GREEDY, heads: id === 1 ? 0 : 3, topK: 4 };
    runner.open(id, { spec, text: Uint32Array.from(prompt), promptTokens: prompt.length }, [], 0);
  }
  const items = prompts.map((prompt, id) => ({ id, pages: [10 + id], work: { rows: prompt.length }, heads: true }));
  const { outcomes, lattices } = await runner.run(items);
  expect(outcomes.map((outcome) => outcome?.bonus)).toEqual(prompts.map((prompt) => toyNext(prompt, 16)));
  expect(outcomes.map((outcome) => outcome?.lattice.heads)).toEqual([3, 0, 3]);
  expect([model.calls.length, model.headsCalls, lattices]).toEqual([1, [2], 2]);
});

test("a session that goes on from its text is as if it had never been away", async () => {
  const { session, first } = await start({ ...GREEDY, heads: 3, topK: 4 });
  const text = [...PROMPT, first.bonus];
  for (let i = 0; i < 5; i++) text.push((await session.step(EMPTY_TREE)).bonus);
  const next = await session.step(EMPTY_TREE);
  const runner = new ModelRunner(new ToyModel());
  const spec = { ...GREEDY, heads: 3, topK: 4 };
  runner.open(7, { spec, text: Uint32Array.from(text), promptTokens: PROMPT.length }, [], 0);
  const { outcomes } = await runner.run([{ id: 7, pages: [1], work: { rows: text.length - 1 }, heads: true }]);
  expect(outcomes).toEqual([null]);
  const again = await runner.run([{ id: 7, pages: [], work: { draft: EMPTY_TREE }, heads: true }]);
  expect(again.outcomes[0]).toEqual(next);
});

test("sampled text does not depend on the draft", async () => {
  const spec = { ...GREEDY, sampling: { temperature: 1.2, topP: 0.8, seed: 77 } };
  const decode = async (draw: (tokens: readonly number[]) => DraftTree) => {
    const { session, first } = await start(spec);
    const tokens = [first.bonus];
    let accepted = 0;
    while (tokens.length < 120) {
      const draft = draw(tokens);
      const outcome = await session.step(draft);
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
  return treeOf(tokens, parents);
}

describe("a lattice's query", () => {
  const spec = { ...GREEDY, heads: 2, topK: 3 };
  const withQueries = () => Object.assign(new ToyModel(), { pairRank: 8 });

  test("belongs to the row that the lattice is made after, in eight bits, and stays with fewer rows and columns", async () => {
    const { session, first } = await start({ ...spec, pair: true }, PROMPT, withQueries());
    expect(first.lattice).toMatchObject({ heads: 2, k: 3, query: pairQuery(toyQuery(toyHash(PROMPT), 8)) });
    const { lattice } = await session.step(EMPTY_TREE);
    expect(lattice.query).toEqual(pairQuery(toyQuery(toyHash([...PROMPT, first.bonus]), 8)));
  });

  test.each([false, undefined])("is not there where the session does not want it (%s)", async (pair) => {
    const { first } = await start({ ...spec, pair }, PROMPT, withQueries());
    expect(first.lattice.heads).toBe(2);
    expect(first.lattice.query).toBeNull();
  });
});
