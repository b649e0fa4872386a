import { describe, expect, test, vi } from "vitest";
import { LogitAdjuster } from "../../../gpu-worker/sampling/adjust.ts";
import { likeliest, nucleus } from "../../../gpu-worker/sampling/nucleus.ts";
import { gumbelNoise, sampleToken } from "../../../gpu-worker/sampling/sampler.ts";
import { chain, type DraftTree, EMPTY_TREE } from "../../../shared/draft-tree.ts";
import type { Adjustments, Sampling } from "../../../shared/engine.ts";
import { Random } from "../../helpers/random.ts";
import { randomTree } from "../../helpers/trees.ts";
import { never, promptOf } from "../engine/toy-decoding.ts";
import { TOY_SPEC, toyEngine, toyHash, toyLogits } from "../toy-model.ts";
import { GREEDY, ToySession } from "../toy-session.ts";

const NONE: Adjustments = {
  biasTokens: new Uint32Array(0),
  biases: new Float32Array(0),
  repetition: 1,
  frequency: 0,
  presence: 0,
};
const ALL: Adjustments = {
  biasTokens: Uint32Array.of(3, 9),
  biases: Float32Array.of(1.5, -4),
  repetition: 1.3,
  frequency: 0.4,
  presence: 0.3,
};

/** By the definition, token by token. */
function naive(logits: readonly number[], adjust: Adjustments, prompt: readonly number[], answer: readonly number[]) {
  return logits.map((logit, token) => {
    const at = adjust.biasTokens.indexOf(token);
    const biased = logit + (at < 0 ? 0 : adjust.biases[at]!);
    const repeated = [...prompt, ...answer].includes(token);
    const factor = biased > 0 ? 1 / adjust.repetition : adjust.repetition;
    const count = answer.filter((other) => other === token).length;
    return (repeated ? biased * factor : biased) - adjust.frequency * count - (count > 0 ? adjust.presence : 0);
  });
}

describe("adjusted logits", () => {
  const logits = Float32Array.of(2, -1, 0.5, 1, 0, -3, 4, 1);
  const adjusted = (adjust: Adjustments, prompt: number[], answer: number[]) =>
    LogitAdjuster.for({ ...GREEDY.sampling, adjust }, [...prompt, ...answer], prompt.length)!.adjust(logits);

  test("presence and frequency count the answer alone", () => {
    expect(adjusted({ ...NONE, presence: 0.5, frequency: 0.25 }, [0, 1, 1], [6, 6, 2])).toEqual(
      Float32Array.of(2, -1, 0.5 - 0.75, 1, 0, -3, 4 - 1, 1),
    );
  });

  test("repetition counts the prompt, too, and pushes either sign down", () => {
    expect(adjusted({ ...NONE, repetition: 2 }, [0, 1], [6, 4])).toEqual(Float32Array.of(1, -2, 0.5, 1, 0, -3, 2, 1));
  });

  test("bias comes first, and what is adjusted stays as it is", () => {
    const bias = { biasTokens: Uint32Array.of(1, 7), biases: Float32Array.of(3, -100) };
    expect(adjusted({ ...NONE, ...bias, repetition: 2 }, [1], [])).toEqual(
      Float32Array.of(2, 1, 0.5, 1, 0, -3, 4, -99),
    );
    expect(logits[1]).toBe(-1);
  });

  test("are those of the definition", () => {
    const random = new Random(4);
    for (let round = 0; round < 200; round++) {
      const row = Float32Array.from({ length: 16 }, () => (random.unit() - 0.5) * 8);
      const text = Array.from({ length: random.int(1, 30) }, () => random.int(0, 15));
      const answerAt = random.int(0, text.length);
      const adjuster = LogitAdjuster.for({ ...GREEDY.sampling, adjust: ALL }, text.slice(0, answerAt), answerAt)!;
      for (const token of text.slice(answerAt)) adjuster.push(token);
      const wanted = naive([...row], ALL, text.slice(0, answerAt), text.slice(answerAt));
      for (const [token, logit] of adjuster.adjust(row).entries()) expect(logit).toBeCloseTo(wanted[token]!, 4);
    }
  });
});

describe("min-p and top-k", () => {
  const random = new Random(6);
  const rows = Array.from({ length: 60 }, () =>
    Float32Array.from({ length: random.int(1, 400) }, () => Math.round((random.unit() - 0.5) * 40) / 2),
  );

  /** Tokens kept, by sorting them all. */
  function kept(logits: Float32Array, { temperature, topP, topK = Infinity, minP = 0 }: Sampling): Set<number> {
    const top = Math.max(...logits);
    const weight = (token: number) => Math.exp((logits[token]! - top) / temperature);
    const sorted = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
    const left = sorted.filter((token) => weight(token) >= minP * (1 - 1e-12)).slice(0, topK);
    const total = left.reduce((sum, token) => sum + weight(token), 0);
    let sum = 0;
    return new Set(
      left.filter((token) => {
        const needed = sum < topP * total;
        sum += weight(token);
        return needed;
      }),
    );
  }

  test.each([
    { temperature: 1, topP: 1, topK: 5 },
    { temperature: 0.3, topP: 1, topK: 1 },
    { temperature: 1.5, topP: 1, topK: 1000 },
    { temperature: 1, topP: 1, minP: 0.05 },
    { temperature: 2, topP: 0.9, topK: 40, minP: 0.01 },
  ])("leave the tokens that %o says, and the noise decides between them", (some) => {
    for (const [position, logits] of rows.entries()) {
      const sampling: Sampling = { ...some, seed: 11 };
      const left = kept(logits, sampling);
      const scores = [...logits].map((logit, token) =>
        left.has(token) ? logit / some.temperature + gumbelNoise(11, position, token) : -Infinity,
      );
      expect(sampleToken(logits, sampling, position)).toBe(scores.indexOf(Math.max(...scores)));
    }
  });

  test("top-k keeps exactly as many, ties by id, and top-p looks at those that are left", () => {
    const row = Float32Array.of(1, 1, 1, 0, 1);
    expect(likeliest(row, 2)).toEqual({ logit: 1, lastToken: 1 });
    expect(likeliest(row, 9)).toEqual({ logit: 0, lastToken: 3 });
    expect(nucleus(row, 1, 0.5, likeliest(row, 4))).toEqual({ logit: 1, lastToken: 1 });
  });
});

const SAMPLED: Sampling = { temperature: 1.1, topP: 0.95, topK: 12, minP: 0.001, seed: 5, adjust: ALL };

/** The answer to `prompt` with the toy model, by the definition. */
function toyAnswer(prompt: readonly number[], sampling: Sampling, count: number): number[] {
  const answer: number[] = [];
  while (answer.length < count) {
    const text = [...prompt, ...answer];
    const row = naive(toyLogits(toyHash(text), 16), sampling.adjust ?? NONE, prompt, answer);
    answer.push(sampleToken(Float32Array.from(row), sampling, text.length));
  }
  return answer;
}

describe.each([
  ["greedy", { ...GREEDY.sampling, adjust: ALL }],
  ["sampled", SAMPLED],
])("%s decoding with bias and penalties", (_, sampling) => {
  const prompt = [1, 2, 3, 4, 5, 6, 7];
  const answer = toyAnswer(prompt, sampling, 80);

  test("gives the same text with any draft, each node adjusted by its own path", async () => {
    const random = new Random(12);
    for (const draw of [
      () => EMPTY_TREE,
      (done: number) => chain(answer.slice(done, done + random.int(0, 5))),
      () => randomTree(random, 12, 16),
    ]) {
      const session = new ToySession({ ...GREEDY, sampling }, prompt);
      const tokens = [(await session.extend(prompt.length))!.bonus];
      while (tokens.length < answer.length) {
        const draft: DraftTree = draw(tokens.length);
        const outcome = await session.step(draft);
        tokens.push(...outcome.accepted.map((node) => draft.tokens[node]!), outcome.bonus);
      }
      expect(tokens.slice(0, answer.length)).toEqual(answer);
    }
  });

  test("goes on right from its text, elsewhere", async () => {
    const spec = { ...GREEDY, sampling, answered: 20 };
    const text = [...prompt, ...answer.slice(0, 20)];
    const session = new ToySession(spec, text);
    expect((await session.extend(text.length))!.bonus).toBe(answer[20]);
    expect((await session.step(chain(answer.slice(21, 24)))).accepted).toEqual([0, 1, 2]);
  });

  test("leaves the log-probabilities to the base model", async () => {
    const session = new ToySession({ ...GREEDY, sampling, logProbs: 1 }, prompt);
    const { logProbs } = (await session.extend(prompt.length))!;
    const row = toyLogits(toyHash(prompt), 16);
    expect(logProbs![0]!.topTokens[0]).toBe(row.indexOf(Math.max(...row)));
  });

  test("survives losing its place in memory", async () => {
    const preempted = vi.fn();
    const { engine } = toyEngine({ events: { preempted } }, 12);
    const random = new Random(9);
    const prompts = Array.from({ length: 10 }, () => promptOf(random, random.int(10, 60)));
    await Promise.all(
      prompts.map(async (own, i) => {
        const wanted = toyAnswer([...own], sampling, 40);
        const session = await engine.open({ ...TOY_SPEC, prompt: own, sampling }, never);
        const tokens = [session.opened.bonus];
        for (let index = 0; tokens.length < 40; index++) {
          const draft = chain(wanted.slice(tokens.length, tokens.length + (i % 3)));
          const { accepted, bonus } = await session.step(index, draft, never);
          tokens.push(...accepted.map((node) => draft.tokens[node]!), bonus);
        }
        session.close();
        expect(tokens.slice(0, 40)).toEqual(wanted);
      }),
    );
    expect(preempted).toHaveBeenCalled();
  });
});
