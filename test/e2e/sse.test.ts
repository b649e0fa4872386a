import { afterAll, beforeAll, expect, test } from "vitest";
import { frames, type Service, startService } from "./service.ts";

let tiny: Service;
/** Every step is longer than the silence after which there is a comment. */
let slow: Service;
beforeAll(async () => {
  const env = { FAKE_STEP_MS: "10500" };
  [tiny, slow] = await Promise.all([startService({ engine: "tiny" }), startService({ engine: "fake", env })]);
});
afterAll(() => Promise.all([tiny?.close(), slow?.close()]));

const ASK = { model: "tiny", prompt: "a" } as const;

interface Chunk {
  choices: { text: string; finish_reason: string | null }[];
}

async function streamed(body: object): Promise<{ texts: string[]; last: string | undefined }> {
  const seen = await Array.fromAsync(frames(await tiny.post("/v1/completions", { ...ASK, ...body, stream: true })));
  const chunks = seen
    .filter((frame) => frame.startsWith("data: {"))
    .map((frame) => JSON.parse(frame.slice(6)) as Chunk);
  return { texts: chunks.flatMap(({ choices }) => choices.map(({ text }) => text)), last: seen.at(-1) };
}

test.concurrent("no chunk splits a code point, and together they are the whole text", async () => {
  for (const seed of [1, 2, 3]) {
    // So hot that tokens of single bytes come up, whole code points and broken ones.
    const body = { max_tokens: 80, temperature: 2, seed };
    const { texts, last } = await streamed(body);
    expect(last).toBe("data: [DONE]");
    expect(texts.every((text) => text.isWellFormed())).toBe(true);
    const whole = await tiny.post("/v1/completions", { ...ASK, ...body });
    expect(texts.join("")).toBe(((await whole.json()) as Chunk).choices[0]!.text);
  }
});

test.concurrent("responses tell proxies not to hold them back", async () => {
  const response = await slow.post("/v1/completions", { ...ASK, max_tokens: 2, stream: true });
  expect(response.headers.get("content-type")).toMatch(/^text\/event-stream/);
  expect(response.headers.get("cache-control")).toContain("no-transform");
  expect(response.headers.get("x-accel-buffering")).toBe("no");
  await response.body?.cancel();
});

test.concurrent("a stream in which nothing happens for long carries comments", async () => {
  const response = await slow.post("/v1/completions", { ...ASK, max_tokens: 2, temperature: 0, stream: true });
  const seen = await Array.fromAsync(frames(response));
  expect(seen).toContain(": keep-alive");
  expect(seen.at(-1)).toBe("data: [DONE]");
});
