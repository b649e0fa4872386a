import { describe, expect, test } from "vitest";
import { chatCases, textCases } from "./bad-bodies.ts";
import { manifestOf, testApp, user } from "./fixture.ts";

const CHAT = "/v1/chat/completions";
const TEXT = "/v1/completions";

const pack = (name: string, order: number) => ({
  name,
  order,
  ngrams: 1,
  path: `packs/${name}.fdlm`,
  bytes: 1,
  sha256: "00",
});
const packed = manifestOf("toy", { packs: [pack("general", 3)] });

describe("a bad request gets a 4xx in OpenAI's shape that names the field:", () => {
  const { post } = testApp({ manifests: [packed] });
  const check = (path: string) => async (_: string, body: unknown, code: string, param: string | null) => {
    const response = await post(path, body);
    expect(await response.json()).toMatchObject({
      error: { code, param, type: "invalid_request_error", message: expect.any(String) },
    });
    expect(response.status).toBe(code === "model_not_found" ? 404 : 400);
  };
  test.each(chatCases)("chat, %s", check(CHAT));
  test.each(textCases)("text, %s", check(TEXT));

  test("chat with a model that has no chat template", async () => {
    const { post } = testApp();
    const response = await post(CHAT, { model: "mute", messages: user("x") });
    expect(await response.json()).toMatchObject({ error: { code: "unsupported", param: "messages" } });
  });

  test("the neural rescorer of a bundle without one", async () => {
    const { post } = testApp();
    for (const alpha of [0, 0.5, undefined]) {
      const speculation = { rescorer: { type: "neural", alpha } };
      const response = await post(CHAT, { messages: user("x"), speculation });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ error: { param: "speculation.rescorer.type" } });
    }
  });

  test("n-grams of a bundle without packs, unless alpha is 0", async () => {
    const { post } = testApp();
    const rescorer = { type: "ngram", alpha: 0.5 };
    const response = await post(CHAT, { messages: user("x"), speculation: { rescorer } });
    expect(await response.json()).toMatchObject({ error: { param: "speculation.rescorer.type" } });
    expect(
      (await post(CHAT, { messages: user("x"), speculation: { rescorer: { ...rescorer, alpha: 0 } } })).status,
    ).toBe(200);
  });
});

describe("what asks for nothing is accepted:", () => {
  test("fields a client sends by default, and nulls", async () => {
    const { post } = testApp();
    const response = await post(CHAT, {
      messages: [
        ...user("x"),
        { role: "assistant", content: [{ type: "text", text: "y" }], refusal: null, tool_calls: [], annotations: [] },
      ],
      n: 1,
      tools: [],
      tool_choice: "auto",
      presence_penalty: 0,
      frequency_penalty: 0,
      response_format: { type: "text" },
      logit_bias: {},
      user: "me",
      metadata: { a: "b" },
      store: true,
      stop: null,
      seed: null,
      temperature: null,
      max_tokens: null,
      stream_options: null,
      speculation: null,
      functions: null,
      prediction: null,
      modalities: ["text"],
    });
    expect(response.status).toBe(200);
  });

  test("JSON sent as a form, as curl does", async () => {
    const { post } = testApp();
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    expect((await post(CHAT, { messages: user("x") }, { headers })).status).toBe(200);
  });

  test("seeds of any sign become 32 bits; the same one twice is the same", async () => {
    const { post, engine } = testApp();
    for (const seed of [-1, 4294967295, 7]) await post(CHAT, { messages: user("x"), seed });
    expect(engine.specs.map((spec) => spec.sampling.seed)).toEqual([4294967295, 4294967295, 7]);
    expect(engine.specs[0]!.sampling).toMatchObject({ temperature: 1, topP: 1 });
  });
});
