import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  generateObject,
  generateText,
  isStepCount,
  type LanguageModel,
  Output,
  streamObject,
  streamText,
  tool,
} from "ai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import { type Service, startService } from "./service.ts";

/** The Vercel AI SDK with its two providers for this API, which needs no provider of its own. */

let service: Service;
beforeAll(async () => {
  service = await startService({ engine: "tiny" });
});
afterAll(() => service?.close());

const settings = () => ({ baseURL: `${service.url}/v1`, apiKey: "any" });
const providers: readonly (readonly [name: string, model: () => LanguageModel])[] = [
  [
    "openai-compatible",
    () =>
      createOpenAICompatible({
        name: "foredraft",
        includeUsage: true,
        supportsStructuredOutputs: true,
        ...settings(),
      })("tiny"),
  ],
  ["openai, chat", () => createOpenAI(settings()).chat("tiny")],
  ["openai, responses", () => createOpenAI(settings()).responses("tiny")],
];
const ASK = { prompt: "Tell me a story about a dog.", temperature: 0, maxOutputTokens: 24, maxRetries: 0 };
/** Nothing is stored, so the SDK is to send earlier items whole; one call a step, as `tiny` would call on and on. */
const providerOptions = {
  openai: { store: false, parallelToolCalls: false },
  foredraft: { parallel_tool_calls: false },
};

const person = z.strictObject({ name: z.string().max(8), age: z.int().min(0).max(99), pet: z.enum(["dog", "cat"]) });
const weather = tool({
  description: "Tells the weather.",
  inputSchema: z.strictObject({ city: z.enum(["Rome", "Oslo"]) }),
  execute: ({ city }) => `Rain in ${city}.`,
});

describe.each(providers)("the provider %s", (_, model) => {
  test("makes text, whole and streamed", async () => {
    const whole = await generateText({ model: model(), ...ASK });
    expect(whole.text.length).toBeGreaterThan(0);
    expect(whole.usage.outputTokens).toBeGreaterThan(0);
    expect(["stop", "length"]).toContain(whole.finishReason);
    const stream = streamText({ model: model(), ...ASK });
    expect((await Array.fromAsync(stream.textStream)).join("")).toBe(whole.text);
    expect(await stream.usage).toMatchObject({ outputTokens: whole.usage.outputTokens });
    expect(await stream.finishReason).toBe(whole.finishReason);
  });

  test("makes objects of a schema, whole and streamed", async () => {
    const { object } = await generateObject({ model: model(), ...ASK, maxOutputTokens: 200, schema: person });
    expect(person.parse(object)).toEqual(object);
    const stream = streamObject({ model: model(), ...ASK, maxOutputTokens: 200, schema: person });
    expect((await Array.fromAsync(stream.partialObjectStream)).length).toBeGreaterThan(0);
    expect(await stream.object).toEqual(object);
    const output = Output.object({ schema: person });
    const { output: again } = await generateText({ model: model(), ...ASK, maxOutputTokens: 200, output });
    expect(again).toEqual(object);
  });

  test("calls tools over several steps, whole and streamed", async () => {
    const options = {
      model: model(),
      ...ASK,
      providerOptions,
      maxOutputTokens: 60,
      tools: { weather },
      prepareStep: ({ stepNumber }: { readonly stepNumber: number }) => ({
        toolChoice: stepNumber === 0 ? ("required" as const) : ("none" as const),
      }),
      stopWhen: isStepCount(2),
    };
    const { steps } = await generateText(options);
    expect(steps).toHaveLength(2);
    const [call] = steps[0]!.toolCalls;
    const { city } = z.strictObject({ city: z.string() }).parse(call!.input);
    expect(steps[0]!.toolResults[0]!.output).toBe(`Rain in ${city}.`);
    expect(steps[1]!.toolCalls).toHaveLength(0);
    const stream = streamText(options);
    const parts = await Array.fromAsync(stream.fullStream);
    expect(parts.filter(({ type }) => type === "error")).toEqual([]);
    expect((await stream.steps).map(({ text }) => text)).toEqual(steps.map(({ text }) => text));
  });

  test("tells a refusal as what it is", async () => {
    const asked = generateText({ model: model(), ...ASK, temperature: 3 });
    await expect(asked).rejects.toMatchObject({ statusCode: 400, message: expect.stringContaining("temperature") });
  });
});

test("fields that the SDK does not know pass through its generic provider", async () => {
  const model = createOpenAICompatible({ name: "foredraft", ...settings() })("tiny");
  const foredraft = { speculation: { enabled: false } };
  const { text } = await generateText({ model, ...ASK, providerOptions: { foredraft } });
  expect(text).toBe((await generateText({ model, ...ASK })).text);
  const wrong = { speculation: { heads: 99 } };
  const refused = generateText({ model, ...ASK, providerOptions: { foredraft: wrong } });
  await expect(refused).rejects.toMatchObject({ message: expect.stringContaining("speculation.heads") });
});
