import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAI } from "@langchain/openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import { type Service, startService } from "./service.ts";

/** LangChain's classes for OpenAI, by the chat and by the Responses API. */

let service: Service;
beforeAll(async () => {
  service = await startService({ engine: "tiny" });
});
afterAll(() => service?.close());

const settings = () => ({
  model: "tiny",
  apiKey: "any",
  temperature: 0,
  maxTokens: 60,
  maxRetries: 0,
  configuration: { baseURL: `${service.url}/v1` },
});
const QUESTION = "Tell me a story about a dog.";
const person = z.strictObject({ name: z.string().max(8), age: z.int().min(0).max(99) });
const weather = tool(({ city }) => `Rain in ${city}.`, {
  name: "weather",
  description: "Tells the weather.",
  schema: z.strictObject({ city: z.enum(["Rome", "Oslo"]) }),
});

describe.each([
  ["chat", false],
  ["responses", true],
])("ChatOpenAI by the API of %s", (_, useResponsesApi) => {
  const chat = (more: object = {}) => new ChatOpenAI({ ...settings(), useResponsesApi, ...more });

  test("answers, whole and streamed", async () => {
    const whole = await chat().invoke(QUESTION);
    expect(whole.text.length).toBeGreaterThan(0);
    expect(whole.usage_metadata).toMatchObject({ output_tokens: expect.any(Number) });
    const chunks = await Array.fromAsync(await chat().stream(QUESTION));
    expect(chunks.map((chunk) => chunk.text).join("")).toBe(whole.text);
  });

  test("calls bound tools and goes on from what they answered", async () => {
    // By name: LangChain sends "required" to the chat API only.
    const bound = chat().bindTools([weather], { tool_choice: "weather", parallel_tool_calls: false });
    const question = new HumanMessage(QUESTION);
    const asked = await bound.invoke([question]);
    const [call] = asked.tool_calls ?? [];
    expect(call).toMatchObject({ name: "weather", args: { city: expect.stringMatching(/Rome|Oslo/) } });
    let streamed = "";
    for await (const { tool_call_chunks: parts } of await bound.stream([question])) {
      streamed += (parts ?? []).map((part) => part.args ?? "").join("");
    }
    expect(JSON.parse(streamed)).toEqual(call!.args);
    const result = (await weather.invoke({ ...call!, type: "tool_call" })) as ToolMessage;
    expect(result).toBeInstanceOf(ToolMessage);
    const answer = await chat().bindTools([weather], { tool_choice: "none" }).invoke([question, asked, result]);
    expect(answer.tool_calls ?? []).toEqual([]);
  });

  test.each(["jsonSchema", "functionCalling"] as const)("gives structured output by %s", async (method) => {
    const structured = chat({ maxTokens: 200 }).withStructuredOutput(person, { method, name: "person" });
    const value = await structured.invoke(QUESTION);
    expect(person.parse(value)).toEqual(value);
  });

  test("asks for JSON", async () => {
    const response_format = { type: "json_object" } as const;
    expect((await chat().invoke(QUESTION, { response_format })).text).toMatch(/^\{/);
  });
});

test("OpenAI completes text, also several at once", async () => {
  const llm = new OpenAI(settings());
  const text = await llm.invoke("Once upon a time");
  expect(text.length).toBeGreaterThan(0);
  expect(await llm.batch(["Once upon a time", "Once upon a time"])).toEqual([text, text]);
  expect((await Array.fromAsync(await llm.stream("Once upon a time"))).join("")).toBe(text);
});
