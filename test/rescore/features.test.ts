import { expect, test } from "vitest";
import { loadPack } from "../../shared/ngram/format.ts";
import { PromptModel } from "../../shared/ngram/prompt.ts";
import { Continuations } from "../../shared/rescore/continuations.ts";
import { Features, WEIGHTS } from "../../shared/rescore/features.ts";
import { History } from "../../shared/rescore/history.ts";
import { PairScores } from "../../shared/rescore/pair-scores.ts";
import { Recycled } from "../../shared/rescore/recycled.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { Random } from "../helpers/random.ts";
import { HASH, toyModel } from "../ngram/helpers.ts";
import { randomLattice } from "./helpers.ts";
import { toyPairs, toyQuery, withQuery } from "./toy-pairs.ts";

const vocabSize = 23;
const pack = loadPack(writePack(toyModel({ seed: 4, order: 4, vocabSize, length: 300 }).table, HASH));

test("every feature of an outcome has its place, and a weight of its own", () => {
  let most = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(seed);
    const pairs = new PairScores(toyPairs(random, vocabSize).tables);
    const history = new History(pack, new PromptModel(), new Recycled(), null, pairs);
    const committed = Array.from({ length: 40 }, () => random.int(0, 5));
    const runnersUp = {
      k: 2,
      tokens: Uint32Array.from({ length: 80 }, () => random.int(0, 5)),
      gaps: new Uint8Array(80),
    };
    history.commit(committed, runnersUp);
    const after = new Continuations(history);
    const bare = randomLattice(() => random.unit(), { heads: 3, k: 4, vocabSize, step: 0.5 });
    after.begin(withQuery(bare, toyQuery(random)));
    const features = new Features();
    let end = history.end();
    for (let depth = 0; depth < 5; depth++) {
      after.list(end);
      const described = Array.from({ length: after.count }, (_, c) => () => features.describe(after, c, end));
      for (const describe of [() => features.describeOther(after, end), ...described]) {
        describe();
        const ids = [...features.ids.subarray(0, features.count)];
        expect(ids).toHaveLength(features.count);
        expect(new Set(ids).size).toBe(features.count);
        expect(ids.every((id) => id < WEIGHTS)).toBe(true);
        expect([...features.values.subarray(0, features.count)].every(Number.isFinite)).toBe(true);
        most = Math.max(most, features.count);
      }
      end = after.step(end, random.int(0, after.count - 1));
    }
  }
  // A copied, recycled candidate that its head likes best shows nearly all kinds of evidence at once.
  expect(most).toBeGreaterThanOrEqual(31);
});
