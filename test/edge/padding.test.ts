import { describe, expect, test } from "vitest";
import { testApp, user } from "./fixture.ts";

const CHAT = "/v1/chat/completions";
const TEXT = "Once upon a time there was a dog, and the dog said: hello world, hello world, hello world!";

async function frames(response: Response): Promise<string[]> {
  return (await response.text()).split("\n\n").filter((frame) => frame !== "");
}

/** Sizes as they cross the wire, bytes; the blank line is part of a frame. */
const sizes = (all: readonly string[]) => all.map((frame) => Buffer.byteLength(frame) + 2);

async function stream(script: object, more: object, options: object) {
  const { post } = testApp({ script });
  const body = { messages: user("x"), temperature: 0, stream: true, stream_options: options, ...more };
  const response = await post(CHAT, body);
  expect(response.status).toBe(200);
  const all = await frames(response);
  expect(all.pop()).toBe("data: [DONE]");
  const chunks = all.map(
    (frame) => JSON.parse(frame.slice(6)) as { choices: { delta: { content?: string } }[]; obfuscation?: string },
  );
  const text = chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("");
  return { sizes: sizes(all), chunks, text };
}

describe("a padded stream", () => {
  test("has frames of one size whatever was accepted, one for each step", async () => {
    for (const wrongRows of [[], [1], [2], [1, 2, 3, 4]]) {
      const { sizes: padded, text, chunks } = await stream({ text: TEXT, wrongRows }, {}, { pad: true });
      expect(text).toBe(TEXT);
      expect(new Set(padded.slice(0, -1))).toEqual(new Set([1024]));
      expect(padded.at(-1)).toBe(16_384);
      expect(chunks.every(({ obfuscation }) => /^[a-z]+$/.test(obfuscation ?? ""))).toBe(true);
    }
  });

  test("says no more by size where texts are long, take many bytes or end with the usage", async () => {
    // Held back while it may be the stop string, the first part comes out all at once.
    const script = { text: `${"\u0001".repeat(150)}${"狗".repeat(30)}` };
    const stop = "\u0001".repeat(151);
    const { sizes: padded, text } = await stream(script, { stop }, { pad: true, include_usage: true });
    expect(text).toBe(script.text);
    expect(new Set(padded.slice(0, -1))).toEqual(new Set([1024]));
    expect(padded.at(-1)).toBe(16_384);
  });

  test("sends a chunk also for a step that shows nothing", async () => {
    const body = { stop: "there was a dog, and the dog sang" };
    const steps = (await stream({ text: TEXT }, { speculation: { trace: true } }, {})).chunks.length;
    expect((await stream({ text: TEXT }, body, { pad: true })).chunks).toHaveLength(steps);
    expect((await stream({ text: TEXT }, body, {})).chunks.length).toBeLessThan(steps);
  });

  test("by OpenAI's own field may carry log-probabilities and traces, in frames of the same units", async () => {
    const more = { logprobs: true, top_logprobs: 4, speculation: { trace: true } };
    const { sizes: padded, text } = await stream({ text: TEXT }, more, { include_obfuscation: true });
    expect(text).toBe(TEXT);
    expect(padded.every((size) => size % 1024 === 0)).toBe(true);
  });

  test("is refused with what has no bound", async () => {
    for (const more of [{ logprobs: true }, { speculation: { trace: true } }, { speculation: { receipt: true } }]) {
      const { post } = testApp();
      const response = await post(CHAT, { messages: user("x"), stream: true, stream_options: { pad: true }, ...more });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ error: { param: "stream_options.pad" } });
    }
  });
});

test("a stream that is not padded carries no noise", async () => {
  for (const options of [{}, { pad: false }, { include_obfuscation: false }]) {
    const { chunks } = await stream({ text: TEXT }, {}, options);
    expect(chunks.some((chunk) => "obfuscation" in chunk)).toBe(false);
  }
});
