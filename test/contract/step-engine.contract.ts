import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chain, type DraftTree, EMPTY_TREE, mergePaths } from "../../shared/draft-tree.ts";
import type { StepResult } from "../../shared/engine.ts";
import { Random } from "../helpers/random.ts";
import { randomTree } from "../helpers/trees.ts";
import { economyContract } from "./economy.contract.ts";
import { pairContract } from "./pair.contract.ts";
import { codeOf, type EngineUnderTest, GREEDY, LENGTH, never, Probe, SAMPLED } from "./probe.ts";

/** What every StepEngine must do, whatever lies behind it. */
export function stepEngineContract(name: string, start: () => Promise<EngineUnderTest>): void {
  describe(`step engine: ${name}`, () => {
    let under: EngineUnderTest;
    let on: Probe;
    beforeAll(async () => {
      under = await start();
      on = await Probe.of(under);
    });
    afterAll(() => under?.close());
    decodingContract(() => on);
    reportContract(() => on);
    neuralContract(() => on);
    pairContract(() => on);
    economyContract(() => on);
    orderContract(() => on);
  });
}

/** A lattice re-ranked by the engine: another order of the same candidates, and never another text. */
function neuralContract(probe: () => Probe): void {
  const latticeWith = async (neural: number | null) => {
    const session = await probe().open({ ...probe().withHeads(), neural, fixed: true });
    const { lattice } = await session.step(0, EMPTY_TREE, never);
    session.close();
    return lattice;
  };

  test("a local rescorer of no weight changes nothing", async (context) => {
    if (!probe().info.neural) return context.skip();
    expect(await latticeWith(0)).toEqual(await latticeWith(null));
  });

  test.each([0.5, 1])("a local rescorer of weight %d keeps every column's candidates, falling", async (neural) => {
    if (!probe().info.neural) {
      expect(await codeOf(latticeWith(neural))).toBe("invalid_request");
      return;
    }
    const heads = await latticeWith(null);
    const { tokens, logProbs, k } = await latticeWith(neural);
    expect(tokens).toHaveLength(heads.tokens.length);
    for (let at = 0; at < tokens.length; at += k) {
      const set = (all: Uint32Array) => [...all.subarray(at, at + k)].sort((a, b) => a - b);
      expect(set(tokens)).toEqual(set(heads.tokens));
      const column = [...logProbs.subarray(at, at + k)];
      expect(column.every((value, i) => value <= (column[i - 1] ?? 0))).toBe(true);
    }
  });

  test.each([
    ["greedy", GREEDY],
    ["sampled", SAMPLED],
  ])("%s decoding with a local rescorer gives the same tokens", async (_, sampling) => {
    const neural = probe().info.neural ? 0.7 : null;
    const drafted = await probe().decode({ sampling, ...probe().withHeads(), neural }, bestPath);
    expect(drafted.tokens).toEqual((await probe().plain(sampling)).tokens);
  });

  test("a local rescorer beside plain decoding is not in its way", async () => {
    const neural = probe().info.neural ? 0.7 : null;
    const plain = await probe().decode({ sampling: GREEDY, neural }, () => EMPTY_TREE);
    expect(plain).toEqual(await probe().plain(GREEDY));
  });
}

/** The text depends on prompt and sampling alone. */
function decodingContract(probe: () => Probe): void {
  describe.each([
    ["greedy", GREEDY],
    ["sampled", SAMPLED],
  ])("%s decoding gives the same tokens", (_, sampling) => {
    test("when run again, one token at a time", async () => {
      expect(await probe().plain(sampling)).toEqual(await probe().plain(sampling));
    });

    test("with the lattice's best path as the draft", async () => {
      const drafted = await probe().decode({ sampling, ...probe().withHeads() }, bestPath);
      expect(drafted.tokens).toEqual((await probe().plain(sampling)).tokens);
    });

    test("with a tree of lattice paths", async () => {
      const random = new Random(3);
      const drafted = await probe().decode({ sampling, ...probe().withHeads() }, (last) => somePaths(last, random));
      expect(drafted.tokens).toEqual((await probe().plain(sampling)).tokens);
    });

    test("with drafts of nonsense, accepting what happens to be right", async () => {
      const random = new Random(4);
      const drafted = await probe().decode({ sampling }, () => randomTree(random, 12, probe().info.vocabSize));
      expect(drafted.tokens).toEqual((await probe().plain(sampling)).tokens);
    });

    test("with the truth hidden in a tree, which is then accepted whole", async () => {
      const truth = (await probe().plain(sampling)).tokens;
      const drafted = await probe().decode({ sampling }, (__, tokens) => {
        const next = truth.slice(tokens.length, tokens.length + 4);
        const wrong = next.map((token) => (token + 1) % probe().info.vocabSize);
        return mergePaths([wrong, [...next.slice(0, 2), ...wrong.slice(2)], next, [...next.slice(0, 1), ...wrong]]);
      });
      expect(drafted.tokens).toEqual(truth);
      expect(drafted.steps).toBe(Math.ceil((LENGTH - 1) / 5));
    });
  });

  test("another seed gives another text", async () => {
    const other = await probe().plain({ ...SAMPLED, seed: 1 });
    expect(other.tokens).not.toEqual((await probe().plain(SAMPLED)).tokens);
  });

  test("a temperature near 0 gives the greedy text", async () => {
    expect((await probe().plain({ ...SAMPLED, temperature: 1e-4 })).tokens).toEqual(
      (await probe().plain(GREEDY)).tokens,
    );
  });

  test("the same text follows from a longer prompt", async () => {
    const truth = (await probe().plain(GREEDY)).tokens;
    const prompt = Uint32Array.of(...probe().spec({}).prompt, ...truth.slice(0, 20));
    expect((await probe().decode({ prompt }, () => EMPTY_TREE)).tokens.slice(0, LENGTH - 20)).toEqual(truth.slice(20));
  });

  test("sessions side by side do not touch one another", async () => {
    const random = new Random(5);
    const alone = await probe().plain(GREEDY);
    const runs = [GREEDY, SAMPLED, GREEDY, SAMPLED].map((sampling) =>
      probe().decode({ sampling, ...probe().withHeads() }, (last) => somePaths(last, random)),
    );
    const [first, second, third, fourth] = (await Promise.all(runs)).map(({ tokens }) => tokens);
    expect(first).toEqual(alone.tokens);
    expect(third).toEqual(first);
    expect(fourth).toEqual(second);
  });
}

/** What comes with the tokens. */
function reportContract(probe: () => Probe): void {
  test("the lattice has the rows and columns asked for, falling in log-probability", async () => {
    for (const [heads, topK] of [
      [probe().info.latticeHeads, probe().info.topK],
      [Math.min(2, probe().info.latticeHeads), 1],
      [1, probe().info.topK],
    ] as const) {
      // Whether it would pay or not.
      const session = await probe().open({ heads, topK, fixed: true });
      const { lattice } = session.opened;
      session.close();
      expect([lattice.heads, lattice.k, lattice.tokens.length, lattice.logProbs.length]).toEqual([
        heads,
        topK,
        heads * topK,
        heads * topK,
      ]);
      expect(lattice.tokens.every((token) => token < probe().info.vocabSize)).toBe(true);
      for (let row = 0; row < heads; row++) {
        const logProbs = [...lattice.logProbs.subarray(row * topK, (row + 1) * topK)];
        expect(logProbs.every((value, i) => value <= (logProbs[i - 1] ?? 0))).toBe(true);
        expect(new Set(lattice.tokens.subarray(row * topK, (row + 1) * topK)).size).toBe(topK);
      }
    }
  });

  test("without heads there is no lattice", async () => {
    const session = await probe().open({ heads: 0, topK: 16 });
    expect(session.opened.lattice).toMatchObject({ heads: 0 });
    session.close();
  });

  test("log-probabilities: one entry per committed token, the greedy one the likeliest", async () => {
    const truth = (await probe().plain(GREEDY)).tokens;
    const session = await probe().open({ logProbs: 3 });
    const draft = chain([...truth.slice(1, 4), (truth[4]! + 1) % probe().info.vocabSize]);
    const result = await session.step(0, draft, never);
    session.close();
    expect(result.accepted).toEqual([0, 1, 2]);
    expect(result.logProbs).toHaveLength(4);
    for (const [i, entry] of [...session.opened.logProbs!, ...result.logProbs!].entries()) {
      expect(entry.topTokens[0]).toBe(truth[i]);
      expect(entry.logProb).toBe(entry.topLogProbs[0]);
      expect(entry.topTokens).toHaveLength(3);
      expect([...entry.topLogProbs].every((value, j, all) => value <= (all[j - 1] ?? 0))).toBe(true);
      expect(entry.topLogProbs.reduce((sum, value) => sum + Math.exp(value), 0)).toBeLessThanOrEqual(1.0001);
    }
  });

  test("no log-probabilities unless asked for, and of the chosen token alone with 0", async () => {
    const without = await probe().open({});
    expect(without.opened.logProbs).toBeNull();
    without.close();
    const chosen = await probe().open({ logProbs: 0 });
    expect(chosen.opened.logProbs).toHaveLength(1);
    expect(chosen.opened.logProbs![0]!.topTokens).toHaveLength(0);
    chosen.close();
  });
}

/** Order, limits and ends. */
function orderContract(probe: () => Probe): void {
  test.each([1, 7])("step %i in place of step 0 is bad_frame", async (index) => {
    const session = await probe().open({});
    expect(await codeOf(session.step(index, EMPTY_TREE, never))).toBe("bad_frame");
    session.close();
  });

  test.each([0, 1])("step %i again after step 1 is bad_frame", async (index) => {
    const session = await probe().open({});
    await session.step(0, EMPTY_TREE, never);
    await session.step(1, EMPTY_TREE, never);
    expect(await codeOf(session.step(index, EMPTY_TREE, never))).toBe("bad_frame");
    session.close();
  });

  test("a token outside the vocabulary in a draft is bad_frame", async () => {
    const session = await probe().open({});
    expect(await codeOf(session.step(0, chain([probe().info.vocabSize]), never))).toBe("bad_frame");
    session.close();
  });

  test("what cannot be opened is refused by name", async () => {
    expect(await codeOf(probe().open({ model: "another" }))).toBe("model_not_found");
    expect(await codeOf(probe().open({ prompt: Uint32Array.of(probe().info.vocabSize) }))).toBe("invalid_request");
    expect(await codeOf(probe().open({ prompt: new Uint32Array(probe().info.contextTokens + 1) }))).toBe(
      "context_length_exceeded",
    );
    expect(await codeOf(probe().open({ heads: probe().info.latticeHeads + 1, topK: 1 }))).toBe("invalid_request");
  });

  test("the context can be filled to its last token and no further", async () => {
    const prompt = new Uint32Array(probe().info.contextTokens - 2).fill(3);
    const session = await probe().open({ prompt });
    const draft = (await session.step(0, EMPTY_TREE, never)).bonus;
    expect(await codeOf(session.step(1, chain([draft]), never))).toBe("context_length_exceeded");
    const other = await probe().open({ prompt });
    await other.step(0, chain([draft]), never);
    session.close();
    other.close();
  });

  test("a closed session answers no more; closing twice is harmless", async () => {
    const session = await probe().open({});
    session.close();
    session.close();
    expect(await codeOf(session.step(0, EMPTY_TREE, never))).toBe("client_closed");
  });

  test("an aborted request rejects with client_closed and ends the session", async () => {
    expect(await codeOf(probe().engine.open(probe().spec({}), AbortSignal.abort()))).toBe("client_closed");
    const session = await probe().open({});
    expect(await codeOf(session.step(0, EMPTY_TREE, AbortSignal.abort()))).toBe("client_closed");
    expect(await codeOf(session.step(0, EMPTY_TREE, never))).toBe("client_closed");
  });

  test("closing while a step runs rejects it", async () => {
    const session = await probe().open({});
    const running = codeOf(session.step(0, EMPTY_TREE, never));
    session.close();
    expect(await running).toBe("client_closed");
  });
}

/** The first column of the lattice, as a chain. */
function bestPath({ lattice }: StepResult): DraftTree {
  return chain(Array.from({ length: lattice.heads }, (_, row) => lattice.tokens[row * lattice.k]!));
}

function somePaths({ lattice }: StepResult, random: Random): DraftTree {
  const path = () =>
    Array.from({ length: lattice.heads }, (_, row) => lattice.tokens[row * lattice.k + random.int(0, lattice.k - 1)]!);
  return mergePaths([path(), path(), path()], 16);
}
