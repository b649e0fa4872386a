import type OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { schemaFault } from "../grammar/judge.ts";
import { type Service, startService } from "./service.ts";

/** Tools with the official client, against the Worker in workerd and the real gpu-worker with `tiny`. */

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({ engine: "tiny" });
  client = service.client();
});
afterAll(() => service?.close());

const WEATHER = {
  type: "object",
  properties: {
    city: { type: "string", maxLength: 12 },
    unit: { enum: ["celsius", "fahrenheit"] },
    days: { type: "integer", minimum: 1, maximum: 9 },
  },
  required: ["city", "unit", "days"],
  additionalProperties: false,
};
const TOOLS: OpenAI.ChatCompletionTool[] = [
  {
    type: "function",
    function: { name: "get_weather", description: "Tells the weather.", parameters: WEATHER, strict: true },
  },
  {
    type: "function",
    function: { name: "stop_story", parameters: { type: "object", properties: {}, additionalProperties: false } },
  },
];
const BASE = {
  model: "tiny",
  messages: [{ role: "user" as const, content: "How is the weather?" }],
  tools: TOOLS,
  temperature: 0,
  max_completion_tokens: 200,
};

function functionCalls(message: OpenAI.ChatCompletionMessage) {
  return (message.tool_calls ?? []).flatMap((call) => (call.type === "function" ? [call] : []));
}

describe("calls of tools", () => {
  test.each([0, 1])("by name have arguments of the tool's schema, at temperature %s", async (temperature) => {
    for (let seed = 1; seed <= 5; seed++) {
      const completion = await client.chat.completions.create({
        ...BASE,
        temperature,
        seed,
        parallel_tool_calls: false,
        tool_choice: { type: "function", function: { name: "get_weather" } },
      });
      const [choice] = completion.choices;
      expect(choice!.finish_reason).toBe("tool_calls");
      expect(choice!.message.content).toBeNull();
      const calls = functionCalls(choice!.message);
      expect(calls.map((call) => call.function.name)).toEqual(["get_weather"]);
      expect(schemaFault(WEATHER, calls[0]!.function.arguments)).toBeNull();
    }
  });

  test("that are required are made", async () => {
    const { choices } = await client.chat.completions.create({
      ...BASE,
      tool_choice: "required",
      parallel_tool_calls: false,
    });
    expect(choices[0]!.finish_reason).toBe("tool_calls");
    expect(functionCalls(choices[0]!.message)).toHaveLength(1);
  });

  test("stream as deltas that add up to the same, drafted or not", async () => {
    const body = { ...BASE, tool_choice: "required", temperature: 1, seed: 3 } as const;
    const whole = await client.chat.completions.create(body);
    const plain = await client.chat.completions.create({ ...body, speculation: { enabled: false } } as typeof body);
    const names = (message: OpenAI.ChatCompletionMessage) => functionCalls(message).map((call) => call.function);
    expect(names(plain.choices[0]!.message)).toEqual(names(whole.choices[0]!.message));
    const runner = client.chat.completions.stream(body);
    const final = await runner.finalChatCompletion();
    const calls = functionCalls(final.choices[0]!.message);
    expect(calls.map(({ function: { name, arguments: args } }) => ({ name, arguments: args }))).toEqual(
      names(whole.choices[0]!.message),
    );
    expect(new Set(calls.map(({ id }) => id)).size).toBe(calls.length);
    expect(final.choices[0]!.finish_reason).toBe(whole.choices[0]!.finish_reason);
  });

  test("come in OpenAI's chunks: first id and name, then arguments, then the reason to finish", async () => {
    const stream = await client.chat.completions.create({
      ...BASE,
      tool_choice: { type: "function", function: { name: "get_weather" } },
      parallel_tool_calls: false,
      stream: true,
    });
    const chunks = await Array.fromAsync(stream);
    const deltas = chunks.flatMap((chunk) => chunk.choices[0]?.delta.tool_calls ?? []);
    expect(deltas[0]).toMatchObject({ index: 0, type: "function", function: { name: "get_weather", arguments: "" } });
    expect(deltas.slice(1).every(({ id, index }) => id === undefined && index === 0)).toBe(true);
    const args = deltas.map((delta) => delta.function?.arguments ?? "").join("");
    expect(schemaFault(WEATHER, args)).toBeNull();
    expect(chunks.at(-1)!.choices[0]!.finish_reason).toBe("tool_calls");
    expect(chunks.every((chunk) => (chunk.choices[0]?.delta.content ?? "") === "")).toBe(true);
  });

  test("are the model's to make where tool_choice is auto, and text otherwise", async () => {
    const { choices } = await client.chat.completions.create({ ...BASE, max_completion_tokens: 30 });
    const { message, finish_reason } = choices[0]!;
    expect((message.content ?? "").length + functionCalls(message).length).toBeGreaterThan(0);
    expect(message.content ?? "").not.toContain("<tool_call>");
    expect(["stop", "length", "tool_calls"]).toContain(finish_reason);
  });

  test("and what the tool answered go back in a second round", async () => {
    const first = await client.chat.completions.create({
      ...BASE,
      tool_choice: "required",
      parallel_tool_calls: false,
    });
    const { message } = first.choices[0]!;
    const second = await client.chat.completions.create({
      ...BASE,
      max_completion_tokens: 20,
      messages: [
        ...BASE.messages,
        message,
        {
          role: "tool",
          tool_call_id: functionCalls(message)[0]!.id,
          content: [{ type: "text", text: "Rain all day." }],
        },
      ],
    });
    expect(second.usage!.prompt_tokens).toBeGreaterThan(first.usage!.prompt_tokens);
    expect(second.choices[0]!.message).toBeDefined();
    const none = await client.chat.completions.create({ ...BASE, max_completion_tokens: 20, tool_choice: "none" });
    expect(none.usage!.prompt_tokens).toBeLessThan(first.usage!.prompt_tokens);
    expect(none.choices[0]!.message.tool_calls).toBeUndefined();
  });

  test("go with n, each choice with calls of its own", async () => {
    const { choices } = await client.chat.completions.create({
      ...BASE,
      tool_choice: "required",
      temperature: 1,
      seed: 9,
      n: 2,
    });
    const ids = choices.flatMap(({ message }) => functionCalls(message).map(({ id }) => id));
    expect(choices.every(({ message }) => functionCalls(message).length > 0)).toBe(true);
    expect(new Set(ids).size).toBe(ids.length);
  });
});

test.each([
  [{ tools: [...TOOLS, TOOLS[0]] }, "tools[2].function.name"],
  [{ tool_choice: { type: "function", function: { name: "unknown" } } }, "tool_choice.function.name"],
  [{ tools: [], tool_choice: "required" }, "tool_choice"],
  [{ tools: [{ type: "function", function: { name: "a b" } }] }, "tools[0].function.name"],
  [
    {
      tools: [
        { type: "function", function: { name: "f", strict: true, parameters: { properties: { a: { not: {} } } } } },
      ],
    },
    "tools[0].function.parameters.properties.a.not",
  ],
  [{ messages: [{ role: "user", content: "x", tool_call_id: "c" }] }, "messages[0].tool_call_id"],
  [
    {
      messages: [
        {
          role: "user",
          content: "x",
          tool_calls: [{ id: "c", type: "function", function: { name: "f", arguments: "" } }],
        },
      ],
    },
    "messages[0].tool_calls",
  ],
])("%j is refused at its field", async (fields, param) => {
  const response = await service.post("/v1/chat/completions", { ...BASE, ...fields });
  expect(response.status).toBe(400);
  expect(((await response.json()) as { error: object }).error).toMatchObject({ param });
});
