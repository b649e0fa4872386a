import { describe, expect, test } from "vitest";
import { END, manifestOf, testApp, tokensOf, user } from "./fixture.ts";

describe("tokens", () => {
  test("of a prompt and of a chat are what a completion begins with", async () => {
    const { post, engine } = testApp();
    await post("/v1/chat/completions", { messages: user("hello") });
    expect(await (await post("/tokenize", { messages: user("hello") })).json()).toMatchObject({
      tokens: [...engine.specs[0]!.prompt],
      count: engine.specs[0]!.prompt.length,
      max_model_len: 512,
      token_strs: null,
    });
    for (const body of [{ prompt: "hello world" }, { content: "hello world" }]) {
      const response = await post("/v1/tokenize", { ...body, return_token_strs: true });
      expect(await response.json()).toMatchObject({ tokens: tokensOf("hello world"), token_strs: ["hello", " world"] });
    }
  });

  test("of a raw prompt are without the one for a beginning where that is asked for", async () => {
    const { post } = testApp({ manifests: [manifestOf("toy", { bosToken: END })] });
    const tokensFor = async (body: object) => (await (await post("/tokenize", body)).json()) as { tokens: number[] };
    for (const add_special_tokens of [undefined, null, true]) {
      const { tokens } = await tokensFor({ prompt: "hello", add_special_tokens });
      expect(tokens).toEqual([END, ...tokensOf("hello")]);
    }
    const bare = await tokensFor({ prompt: "hello", add_special_tokens: false });
    expect(bare).toMatchObject({ count: tokensOf("hello").length, tokens: tokensOf("hello") });
    const chat = await tokensFor({ messages: user("hello") });
    expect(await tokensFor({ messages: user("hello"), add_special_tokens: false })).toEqual(chat);
  });

  test("of a chat are with its tools, as a completion's prompt is", async () => {
    const { post, engine } = testApp();
    const chat = { messages: user("hello"), tools: [{ type: "function", function: { name: "get_time" } }] };
    await post("/v1/chat/completions", chat);
    const { tokens } = (await (await post("/tokenize", chat)).json()) as { tokens: number[] };
    expect(tokens).toEqual([...engine.specs[0]!.prompt]);
    expect(tokens.length).toBeGreaterThan(tokensOf("hello").length + 20);
  });

  test("become text again", async () => {
    const { post } = testApp();
    expect(await (await post("/detokenize", { tokens: tokensOf("hello wörld") })).json()).toEqual({
      prompt: "hello wörld",
    });
  });

  test.each([
    ["/tokenize", {}, "prompt"],
    ["/tokenize", { prompt: "x", mood: 1 }, "mood"],
    ["/tokenize", { messages: [{ role: "user" }] }, "messages[0].content"],
    ["/detokenize", { tokens: [1, 5000] }, "tokens[1]"],
    ["/detokenize", { tokens: Array(8193).fill(0) }, "tokens"],
    ["/detokenize", { tokens: "x" }, "tokens"],
  ])("%s of %j names the fault", async (path, body, param) => {
    const response = await testApp().post(path, body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { param } });
  });
});
