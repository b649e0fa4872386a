import { describe, expect, test } from "vitest";
import { interleave } from "../../edge/completion/interleave.ts";
import { END, testApp, tokensOf, user } from "./fixture.ts";

/** Several completions of one request, and what changes how their tokens are chosen. */

const CHAT = "/v1/chat/completions";
const TEXT = "/v1/completions";

interface Chunk {
  readonly choices: readonly {
    readonly index: number;
    readonly text?: string;
    readonly finish_reason: string | null;
  }[];
  readonly metrics?: object;
}

async function chunksOf(response: Response): Promise<Chunk[]> {
  const frames = (await response.text()).split("\n\n").filter((frame) => frame.startsWith("data: {"));
  return frames.map((frame) => JSON.parse(frame.slice(6)) as Chunk);
}

describe("n", () => {
  test("choices have seeds in a row, and count their prompt once", async () => {
    const { post, engine } = testApp({ script: { text: "hello world", cachedTokens: 3 } });
    const body = { messages: user("x"), n: 3, seed: 4294967295 };
    const answer = await (await post(CHAT, body)).json();
    expect(answer).toMatchObject({
      choices: [0, 1, 2].map((index) => ({ index, message: { content: "hello world" }, finish_reason: "stop" })),
      usage: { prompt_tokens_details: { cached_tokens: 3 } },
    });
    const one = (await (await post(CHAT, { ...body, n: 1 })).json()) as typeof answer & Usage;
    const { usage } = answer as Usage;
    expect(usage.prompt_tokens).toBe(one.usage.prompt_tokens);
    expect(usage.completion_tokens).toBe(3 * one.usage.completion_tokens);
    expect(engine.specs.map(({ sampling }) => sampling.seed)).toEqual([4294967295, 0, 1, 4294967295]);
    expect(engine.closed).toBe(4);
  });

  test("choices of several prompts are numbered prompt by prompt", async () => {
    const { post, engine } = testApp();
    const answer = (await (await post(TEXT, { prompt: ["a", "b"], n: 2, echo: true })).json()) as Chunk;
    expect(answer.choices.map(({ text }) => text)).toEqual(
      ["a", "a", "b", "b"].map((prompt) => `${prompt}hello world`),
    );
    expect(engine.specs.map(({ prompt }) => [...prompt])).toEqual(["a", "a", "b", "b"].map(tokensOf));
  });

  test("a stream names the choice of every chunk, ends each once and tells metrics in the last", async () => {
    const { post } = testApp();
    const chunks = await chunksOf(await post(TEXT, { prompt: [[104], [105]], n: 2, echo: true, stream: true }));
    const texts = ["", "", "", ""];
    for (const { choices } of chunks) texts[choices[0]!.index]! += choices[0]!.text!;
    expect(texts).toEqual(["hhello world", "hhello world", "ihello world", "ihello world"]);
    const ends = chunks.filter(({ choices }) => choices[0]!.finish_reason !== null);
    expect(ends.map(({ choices }) => choices[0]!.index).sort()).toEqual([0, 1, 2, 3]);
    expect(chunks.filter(({ metrics }) => metrics !== undefined)).toEqual([chunks.at(-1)]);
  });

  test("a choice that fails ends the others", async () => {
    const failAt = { call: 2, error: new Error("no") };
    const { post, engine, logged } = testApp({ script: { text: "hello world", endless: true, failAt } });
    const response = await post(CHAT, { messages: user("x"), n: 4, speculation: { enabled: false } });
    expect(response.status).toBe(500);
    expect(logged).toHaveLength(1);
    expect(engine.closed).toBe(engine.open_);
  });

  test("takes as many places as are free, and all are given back", async () => {
    const { post } = testApp({ env: { MAX_STREAMS: "2" } });
    for (let i = 0; i < 3; i++) expect((await post(CHAT, { messages: user("x"), n: 5 })).status).toBe(200);
  });
});

interface Usage {
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
}

describe("what changes how tokens are chosen", () => {
  const specOf = async (more: object) => {
    const { post, engine } = testApp();
    expect((await post(CHAT, { messages: user("x"), seed: 1, ...more })).status).toBe(200);
    return engine.specs[0]!.sampling;
  };

  test("goes to the engine", async () => {
    const body = {
      temperature: 0.5,
      top_p: 0.9,
      top_k: 40,
      min_p: 0.05,
      presence_penalty: 0.5,
      frequency_penalty: -1,
      repetition_penalty: 1.1,
      logit_bias: { 7: -100, 9: 0, 11: 2.5 },
    };
    expect(await specOf(body)).toEqual({
      temperature: 0.5,
      topP: 0.9,
      topK: 40,
      minP: 0.05,
      seed: 1,
      adjust: {
        biasTokens: Uint32Array.of(7, 11),
        biases: Float32Array.of(-100, 2.5),
        repetition: 1.1,
        frequency: -1,
        presence: 0.5,
      },
    });
  });

  test("is nothing where fields ask for nothing", async () => {
    const none = { top_k: -1, min_p: 0, presence_penalty: 0, frequency_penalty: null, repetition_penalty: 1 };
    expect(await specOf({ ...none, logit_bias: { 5: 0 } })).toEqual({ temperature: 1, topP: 1, seed: 1 });
  });

  test.each([7, -7, 2 ** 32 - 1, -(2 ** 31)])("the seed %i is itself, in 32 bits", async (seed) => {
    expect((await specOf({ seed })).seed).toBe(seed >>> 0);
  });

  test("seeds of 64 bits differ where their upper halves do", async () => {
    const seeds = [2 ** 62, 2 ** 62 + 2 ** 40, -(2 ** 63), 2 ** 64, 2 ** 53 + 2];
    const seen = [];
    for (const seed of seeds) seen.push((await specOf({ seed })).seed);
    expect(new Set(seen).size).toBe(seeds.length);
  });
});

describe("lengths", () => {
  const script = { tokens: [104], endless: true };

  test("above the context are cut to it", async () => {
    const { post } = testApp({ script });
    const answer = await (await post(TEXT, { prompt: [1, 2], max_tokens: 1_000_000 })).json();
    expect(answer).toMatchObject({ choices: [{ finish_reason: "length" }], usage: { completion_tokens: 510 } });
  });

  test("are 16 or what the context leaves where nothing is said", async () => {
    const { post } = testApp({ script });
    const text = await (await post(TEXT, { prompt: Array(500).fill(END) })).json();
    expect(text).toMatchObject({ usage: { completion_tokens: 12 } });
    expect(await (await post(TEXT, { prompt: [1] })).json()).toMatchObject({ usage: { completion_tokens: 16 } });
  });
});

describe("a prediction", () => {
  const prediction = { type: "content", content: "hello world hello" };

  test("is what drafts are copied from, at the edge or beside the model", async () => {
    const script = { text: "one hello world hello two", wrongRows: [1, 2, 3, 4, 5, 6, 7, 8] };
    const { post, engine } = testApp({ script });
    const ask = async (more: object) => {
      const answer = await (await post(CHAT, { messages: user("x"), temperature: 0, ...more })).json();
      return answer as { choices: { message: { content: string } }[]; usage: Details };
    };
    const plain = await ask({ speculation: { rescorer: { type: "ngram", alpha: 0, prompt: true } } });
    const predicted = await ask({ prediction });
    expect(predicted.choices[0]!.message.content).toBe(plain.choices[0]!.message.content);
    const accepted = ({ usage }: { usage: Details }) => usage.completion_tokens_details.accepted_prediction_tokens;
    expect(accepted(plain)).toBe(0);
    expect(accepted(predicted)).toBeGreaterThan(0);
    expect(engine.drafts.some(({ tokens }) => tokens.includes(tokensOf(" world")[0]!))).toBe(true);
  });

  test("changes nothing where copies or drafts are off", async () => {
    const { post, engine } = testApp();
    for (const speculation of [{ enabled: false }, { rescorer: { type: "none" } }]) {
      expect((await post(CHAT, { messages: user("x"), prediction, speculation })).status).toBe(200);
    }
    expect(engine.specs.map(({ heads }) => heads)).toEqual([0, 4]);
  });
});

interface Details {
  readonly completion_tokens_details: { readonly accepted_prediction_tokens: number };
}

describe("interleaved items", () => {
  async function* count(to: number, log: string[] = []): AsyncGenerator<number, void> {
    try {
      for (let i = 0; i < to; i++) {
        await Promise.resolve();
        yield i;
      }
    } finally {
      log.push(`end ${to}`);
    }
  }
  const none = () => undefined;

  test("are all items of all sources, each source's in order", async () => {
    const sources = [3, 5, 0, 2].map((to, i) => ({
      open: async function* () {
        for await (const item of count(to)) yield [i, item];
      },
      after: null,
    }));
    for (const width of [1, 2, 4, 9]) {
      const items = await Array.fromAsync(interleave(sources, width, none));
      for (const [i, to] of [3, 5, 0, 2].entries()) {
        expect(items.filter(([from]) => from === i).map(([, item]) => item)).toEqual([...Array(to).keys()]);
      }
    }
  });

  test("begin once the source has that they wait for, or it has ended with none", async () => {
    const opened: number[] = [];
    const source = (to: number, after: number | null) => ({
      open: () => {
        opened.push(to);
        return count(to);
      },
      after,
    });
    const items = interleave([source(2, null), source(3, 0)], 2, none);
    const first = items.next();
    expect(opened).toEqual([2]);
    await first;
    await items.next();
    expect(opened).toEqual([2, 3]);
    await Array.fromAsync(items);
    expect(await Array.fromAsync(interleave([source(0, null), source(3, 0)], 2, none))).toEqual([0, 1, 2]);
  });

  test("end when their reader leaves", async () => {
    const log: string[] = [];
    let stopped = 0;
    const sources = [4, 5].map((to) => ({ open: () => count(to, log), after: null }));
    for await (const item of interleave(sources, 2, () => stopped++)) if (item === 1) break;
    await Promise.resolve();
    expect(stopped).toBe(1);
    await expect.poll(() => log.toSorted()).toEqual(["end 4", "end 5"]);
  });
});
