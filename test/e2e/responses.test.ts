import type OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { schemaFault } from "../grammar/judge.ts";
import { type Service, startService } from "./service.ts";

/** Tools and structured output of the Responses API with the official client, in workerd and with `tiny`. */

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({ engine: "tiny" });
  client = service.client();
});
afterAll(() => service?.close());

const WEATHER = {
  type: "object",
  properties: { city: { type: "string", maxLength: 12 }, unit: { enum: ["celsius", "fahrenheit"] } },
  required: ["city", "unit"],
  additionalProperties: false,
};
const TOOLS: OpenAI.Responses.FunctionTool[] = [
  { type: "function", name: "get_weather", description: "Tells the weather.", parameters: WEATHER, strict: true },
  { type: "function", name: "stop_story", parameters: { additionalProperties: false }, strict: null },
];
const BASE = {
  model: "tiny",
  input: "How is the weather?",
  tools: TOOLS,
  temperature: 0,
  max_output_tokens: 200,
};

const callsOf = (response: OpenAI.Responses.Response) =>
  response.output.flatMap((item) => (item.type === "function_call" ? [item] : []));

describe("calls of tools", () => {
  test.each([0, 1])("by name have arguments of the tool's schema, at temperature %s", async (temperature) => {
    const choice = { type: "function", name: "get_weather" } as const;
    const response = await client.responses.create({
      ...BASE,
      temperature,
      tool_choice: choice,
      parallel_tool_calls: false,
    });
    expect(response).toMatchObject({ status: "completed", tool_choice: choice, parallel_tool_calls: false });
    expect(response.tools).toMatchObject([{ name: "get_weather", strict: true }, { name: "stop_story" }]);
    expect(response.output).toHaveLength(1);
    expect(callsOf(response)).toMatchObject([{ name: "get_weather", status: "completed" }]);
    expect(schemaFault(WEATHER, callsOf(response)[0]!.arguments)).toBeNull();
  });

  test("stream as events that add up to the same, drafted or not", async () => {
    const body = { ...BASE, tool_choice: "required", temperature: 1, seed: 3 } as const;
    const whole = await client.responses.create(body);
    const plain = await client.responses.create({ ...body, speculation: { enabled: false } } as typeof body);
    const told = (response: OpenAI.Responses.Response) =>
      callsOf(response).map(({ name, arguments: args, status }) => ({ name, args, status }));
    expect(told(plain)).toEqual(told(whole));
    const stream = client.responses.stream(body);
    const args: string[] = [];
    for await (const event of stream) {
      if (event.type === "response.output_item.added") args.push("");
      if (event.type === "response.function_call_arguments.delta") args[event.output_index] += event.delta;
    }
    const final = await stream.finalResponse();
    expect(told(final)).toEqual(told(whole));
    expect(args).toEqual(told(whole).map((call) => call.args));
    const ids = callsOf(final).flatMap(({ id, call_id }) => [id, call_id]);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("come as OpenAI's events, in their order", async () => {
    const stream = await client.responses.create({
      ...BASE,
      tool_choice: "required",
      parallel_tool_calls: false,
      stream: true,
    });
    const types = (await Array.fromAsync(stream)).map(({ type }) => type.replace("response.", ""));
    const deltas = types.filter((type) => type === "function_call_arguments.delta");
    expect(types).toEqual([
      ...["created", "in_progress", "output_item.added"],
      ...deltas,
      ...["function_call_arguments.done", "output_item.done", "completed"],
    ]);
  });

  test("and what the tool answered go back in a second round", async () => {
    const first = await client.responses.create({ ...BASE, tool_choice: "required", parallel_tool_calls: false });
    const [call] = callsOf(first);
    const input: OpenAI.Responses.ResponseInput = [
      { role: "user", content: BASE.input },
      ...(first.output as OpenAI.Responses.ResponseInput),
      { type: "function_call_output", call_id: call!.call_id, output: "Rain all day." },
    ];
    const second = await client.responses.create({ ...BASE, input, max_output_tokens: 20 });
    expect(second.usage!.input_tokens).toBeGreaterThan(first.usage!.input_tokens);
    // The same conversation as a chat has the same prompt.
    const chat = await client.chat.completions.create({
      model: "tiny",
      temperature: 0,
      max_completion_tokens: 20,
      tools: TOOLS.map(({ type, name, description, parameters, strict }) => {
        const about = { ...(description == null ? {} : { description }), parameters: parameters!, strict };
        return { type, function: { name, ...about } };
      }),
      messages: [
        { role: "user", content: BASE.input },
        {
          role: "assistant",
          content: null,
          tool_calls: [
            { id: call!.call_id, type: "function", function: { name: call!.name, arguments: call!.arguments } },
          ],
        },
        { role: "tool", tool_call_id: call!.call_id, content: "Rain all day." },
      ],
    });
    expect(chat.usage!.prompt_tokens).toBe(second.usage!.input_tokens);
    expect(chat.choices[0]!.message.content ?? "").toBe(second.output_text);
  });

  test("that the limit cuts off are incomplete", async () => {
    const response = await client.responses.create({ ...BASE, tool_choice: "required", max_output_tokens: 16 });
    expect(response.status).toBe("incomplete");
    expect(response.output.at(-1)).toMatchObject({ status: "incomplete" });
  });
});

describe("the answer's form", () => {
  const { tools: _, ...ask } = BASE;

  test.each([0, 1])("is that of a JSON schema, at temperature %s", async (temperature) => {
    const format = { type: "json_schema", name: "weather", strict: true, schema: WEATHER } as const;
    const response = await client.responses.parse({ ...ask, temperature, text: { format } });
    expect(schemaFault(WEATHER, response.output_text)).toBeNull();
    expect(response.output_parsed).toEqual(JSON.parse(response.output_text));
    expect(response.text).toMatchObject({ format });
  });

  test("is a JSON object, unless tools are called", async () => {
    const format = { type: "json_object" } as const;
    const { output_text: text, status } = await client.responses.create({ ...ask, text: { format } });
    if (status === "completed") expect(JSON.parse(text)).toEqual(expect.any(Object));
    expect(text).toMatch(/^\{/);
    const called = await client.responses.create({ ...BASE, text: { format }, tool_choice: "required" });
    expect(callsOf(called).length).toBeGreaterThan(0);
  });

  test("goes with log-probabilities, also where tools might have been called", async () => {
    const body = {
      ...BASE,
      text: { format: { type: "json_schema", name: "weather", schema: WEATHER } },
      include: ["message.output_text.logprobs"],
    } as const;
    const whole = await client.responses.create({ ...body, include: [...body.include] });
    for (const item of whole.output) {
      if (item.type !== "message" || item.content[0]?.type !== "output_text") continue;
      expect(item.content[0].logprobs!.map(({ token }) => token).join("")).toBe(item.content[0].text);
    }
  });
});

test.each([
  [{ tools: [...TOOLS, TOOLS[0]] }, "tools[2].name"],
  [{ tool_choice: { type: "function", name: "unknown" } }, "tool_choice.name"],
  [{ tools: [], tool_choice: "required" }, "tool_choice"],
  [{ tools: [{ type: "function", name: "a b" }] }, "tools[0].name"],
  [
    { tools: [{ type: "function", name: "f", strict: true, parameters: { properties: { a: { not: {} } } } }] },
    "tools[0].parameters.properties.a.not",
  ],
  [{ text: { format: { type: "json_schema", schema: { not: {} } } } }, "text.format.schema.not"],
  [{ text: { format: { type: "xml" } } }, "text.format.type"],
  [{ input: [{ type: "function_call_output", output: "" }] }, "input[0].call_id"],
  [{ input: [{ type: "function_call", call_id: "1", arguments: "" }] }, "input[0].name"],
])("%j is refused at its field", async (fields, param) => {
  const response = await service.post("/v1/responses", { ...BASE, ...fields });
  expect(response.status).toBe(400);
  expect(((await response.json()) as { error: object }).error).toMatchObject({ param });
});
