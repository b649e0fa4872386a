import { describe, expect, test } from "vitest";
import { labelled } from "../../edge/http/prometheus.ts";
import { StepError } from "../../shared/errors.ts";
import { sha256, testApp, user } from "./fixture.ts";

/** The Responses API, and the routes beside the APIs of completions. */

const RESPONSES = "/v1/responses";

interface Event {
  readonly type: string;
  readonly sequence_number: number;
  readonly delta?: string;
  readonly response?: { readonly status: string };
}

async function eventsOf(response: Response): Promise<Event[]> {
  const frames = (await response.text()).split("\n\n").filter((frame) => frame !== "");
  return frames.map((frame) => {
    const [event, data] = frame.split("\n");
    const parsed = JSON.parse(data!.replace(/^data: /, "")) as Event;
    expect(event).toBe(`event: ${parsed.type}`);
    return parsed;
  });
}

describe("responses", () => {
  test("answer what the same chat answers", async () => {
    const { post, engine } = testApp();
    const response = await post(RESPONSES, { instructions: "Be kind.", input: "hello", metadata: { a: "b" }, seed: 3 });
    expect(await response.json()).toMatchObject({
      object: "response",
      status: "completed",
      instructions: "Be kind.",
      metadata: { a: "b" },
      store: false,
      output: [{ type: "message", role: "assistant", content: [{ type: "output_text", text: "hello world" }] }],
    });
    await post("/v1/chat/completions", {
      messages: [{ role: "system", content: "Be kind." }, ...user("hello")],
      seed: 3,
    });
    const [first, second] = engine.specs;
    expect(first!.prompt).toEqual(second!.prompt);
    expect(first!.sampling).toEqual(second!.sampling);
  });

  test("take back what they have put out", async () => {
    const { post, engine } = testApp();
    const first = (await (await post(RESPONSES, { input: "hello" })).json()) as { output: object[] };
    const input = [
      ...user("hello"),
      ...first.output,
      { role: "user", content: [{ type: "input_text", text: "more" }] },
    ];
    expect((await post(RESPONSES, { input })).status).toBe(200);
    const chat = [...user("hello"), { role: "assistant", content: "hello world" }, ...user("more")];
    await post("/v1/chat/completions", { messages: chat });
    expect(engine.specs[1]!.prompt).toEqual(engine.specs[2]!.prompt);
  });

  test("stream numbered events that add up to the answer", async () => {
    const { post } = testApp();
    const events = await eventsOf(await post(RESPONSES, { input: "hello", stream: true }));
    expect(events.map(({ sequence_number: number }) => number)).toEqual([...events.keys()]);
    const types = events.map(({ type }) => type);
    expect(types.slice(0, 4)).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.content_part.added",
    ]);
    expect(types.slice(-4)).toEqual([
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.completed",
    ]);
    expect(events.map(({ delta }) => delta ?? "").join("")).toBe("hello world");
  });

  test("are incomplete where the limit ends them", async () => {
    const { post } = testApp();
    const body = { input: "hello", max_output_tokens: 1 };
    expect(await (await post(RESPONSES, body)).json()).toMatchObject({
      status: "incomplete",
      incomplete_details: { reason: "max_output_tokens" },
      usage: { output_tokens: 1 },
    });
    const events = await eventsOf(await post(RESPONSES, { ...body, stream: true }));
    expect(events.at(-1)).toMatchObject({ type: "response.incomplete", response: { status: "incomplete" } });
  });

  test("tell an error after the first token as an event", async () => {
    const failAt = { call: 1, error: new StepError("engine_failed", "gone") };
    const { post } = testApp({ script: { text: "hello world", failAt } });
    const body = { input: "hello", stream: true, speculation: { enabled: false } };
    const events = await eventsOf(await post(RESPONSES, body));
    expect(events.at(-1)).toMatchObject({ type: "error", code: "engine_failed", sequence_number: events.length - 1 });
  });

  test("carry log-probabilities where they are included", async () => {
    const { post } = testApp();
    const body = { input: "hello", include: ["message.output_text.logprobs"], top_logprobs: 2 };
    expect(await (await post(RESPONSES, body)).json()).toMatchObject({
      output: [{ content: [{ logprobs: [{ token: "hello", logprob: -0.5 }, { token: " world" }] }] }],
    });
  });

  test.each([
    [{ store: true }, "store"],
    [{ previous_response_id: "resp_1" }, "previous_response_id"],
    [{ conversation: "conv_1" }, "conversation"],
    [{ background: true }, "background"],
    [{ moderation: { model: "omni-moderation-latest" } }, "moderation"],
    [{ tools: [{ type: "web_search" }] }, "tools[0].type"],
    [{ truncation: "auto" }, "truncation"],
    [{ tool_choice: { type: "allowed_tools" } }, "tool_choice.type"],
    [{ input: [{ type: "item_reference", id: "1" }] }, "input[0].type"],
    [{ input: [{ role: "user", content: [{ type: "input_image" }] }] }, "input[0].content[0].type"],
  ])("refuse %j by name", async (more, param) => {
    const response = await testApp().post(RESPONSES, { input: "hello", ...more });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: "unsupported", param } });
  });

  test.each([
    [{ input: [] }, "input"],
    [{ input: 3 }, "input"],
    [{ input: Array(257).fill(user("x")[0]) }, "input"],
    [{ input: [{ role: "user", content: Array(1025).fill({}) }] }, "input[0].content"],
    [{ input: "x", top_logprobs: 3 }, "top_logprobs"],
    [{ input: "x", max_output_tokens: 0 }, "max_output_tokens"],
    [{ input: "x", tempo: 1 }, "tempo"],
  ])("find the fault of %j", async (body, param) => {
    const response = await testApp().post(RESPONSES, body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: "invalid_request", param } });
  });

  test("are not there to be had again", async () => {
    const { app } = testApp();
    const response = await app.request("/v1/responses/resp_1");
    expect([response.status, ((await response.json()) as { error: object }).error]).toMatchObject([
      404,
      { code: "not_found", message: expect.stringContaining("not stored") },
    ]);
  });
});

describe("fields that change nothing", () => {
  const ignored = async (path: string, body: object) => {
    const response = await testApp().post(path, body);
    expect(response.status).toBe(200);
    return response.headers.get("x-ignored-fields");
  };

  test("are named in a header", async () => {
    const messages = [
      { role: "user", content: "x", name: "me", id: "1" },
      { role: "assistant", content: null, reasoning_content: "hm" },
      ...user("y"),
    ];
    const body = {
      messages,
      reasoning_effort: "low",
      verbosity: "high",
      chat_template_kwargs: { a: 1 },
      keep_alive: "5m",
      cache_prompt: true,
      repetition_penalty: 1,
      top_logprobs: 0,
      stream_options: {},
      tools: [{ type: "function", function: { name: "f" } }],
      tool_choice: "none",
      user: null,
    };
    expect(await ignored("/v1/chat/completions", body)).toBe(
      "reasoning_effort, verbosity, chat_template_kwargs, keep_alive, cache_prompt, " +
        "messages[].name, messages[].id, messages[].reasoning_content",
    );
    expect(await ignored(RESPONSES, { input: "x", reasoning: { effort: "low" }, store: false })).toBe("reasoning");
  });

  test("are named where they stand in parts, tools and earlier answers", async () => {
    const cache_control = { type: "ephemeral" };
    const prompt_cache_breakpoint = { mode: "explicit" };
    const chat = {
      messages: [
        { role: "user", content: [{ type: "text", text: "x", cache_control, prompt_cache_breakpoint }] },
        { role: "assistant", content: "y", annotations: [{ type: "url_citation" }] },
        ...user("z"),
      ],
      tools: [{ type: "function", function: { name: "f" }, cache_control }],
    };
    expect(await ignored("/v1/chat/completions", chat)).toBe(
      "tools[].cache_control, messages[].content[].cache_control, messages[].content[].prompt_cache_breakpoint, " +
        "messages[].annotations",
    );
    const call = { type: "function_call", call_id: "1", name: "f", arguments: "{}", caller: { type: "direct" } };
    const response = {
      input: [
        { role: "user", content: [{ type: "input_text", text: "x", prompt_cache_breakpoint }] },
        { role: "assistant", content: [{ type: "output_text", text: "y", annotations: [{ type: "url_citation" }] }] },
        { ...call, namespace: null, async: false },
        { type: "function_call_output", call_id: "1", name: "f", output: [{ type: "input_text", text: "z" }] },
      ],
      tools: [{ type: "function", name: "f", defer_loading: true, allowed_callers: ["direct"], output_schema: {} }],
    };
    expect(await ignored(RESPONSES, response)).toBe(
      "tools[].defer_loading, tools[].allowed_callers, tools[].output_schema, " +
        "input[].content[].prompt_cache_breakpoint",
    );
  });

  test("are not named where there are none", async () => {
    expect(await ignored("/v1/completions", { prompt: "x" })).toBeNull();
  });
});

describe("paths", () => {
  test.each(["/chat/completions", "/v1/chat/completions/", "/v1/v1/chat/completions", "/chat/completions//"])(
    "%s is the chat route",
    async (path) => {
      const response = await testApp().post(path, { messages: user("x") });
      expect(await response.json()).toMatchObject({ object: "chat.completion" });
    },
  );

  test.each(["/models", "/v1/models/", "/models/toy", "/health", "/health/", "/healthz/"])("GET %s", async (path) => {
    expect((await testApp().app.request(path)).status).toBe(200);
  });

  test("another method of theirs is told the right one", async () => {
    const response = await testApp().app.request("/responses/");
    expect([response.status, response.headers.get("allow")]).toEqual([405, "POST"]);
  });

  test("a key is asked for whatever the path is called", async () => {
    const { app } = testApp({ env: { API_KEYS: sha256(new TextEncoder().encode("secret")) } });
    for (const path of ["/models", "/models/", "/v1/v1/models", "/tokenize", "/chat/completions"]) {
      expect((await app.request(path)).status).toBe(401);
    }
  });

  test("embeddings are refused by name", async () => {
    const response = await testApp().post("/v1/embeddings", { input: "x" });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      error: { code: "unsupported", message: expect.stringContaining("Embeddings") },
    });
  });

  test("counting a response's tokens is refused with the route that counts", async () => {
    const response = await testApp().post("/v1/responses/input_tokens", { input: "x" });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      error: { code: "unsupported", message: expect.stringContaining("POST /tokenize") },
    });
  });

  test("JSON in text/plain is read", async () => {
    const headers = { "content-type": "text/plain" };
    expect((await testApp().post("/v1/completions", { prompt: "x" }, { headers })).status).toBe(200);
  });
});

describe("metrics", () => {
  const hash = (key: string) => sha256(new TextEncoder().encode(key));
  const told = [
    { worker: "a:1", text: '# HELP x Things.\n# TYPE x counter\nx 1\n# TYPE y gauge\ny{k="v"} 2\n' },
    { worker: "b:2", text: "# HELP x Things.\n# TYPE x counter\nx 3\n" },
  ];
  const ask = async (env: Record<string, string>, key: string | null) => {
    const { app } = testApp({ env, deps: { engineMetrics: async () => told } });
    return await app.request("/metrics", key === null ? {} : { headers: { authorization: `Bearer ${key}` } });
  };

  test("of all gpu-workers come as one text", () => {
    expect(labelled(told)).toBe(
      '# HELP x Things.\n# TYPE x counter\nx{worker="a:1"} 1\nx{worker="b:2"} 3\n# TYPE y gauge\ny{worker="a:1",k="v"} 2\n',
    );
  });

  test("need a key: their own, or an API key where there is none", async () => {
    const own = { METRICS_KEYS: hash("m"), API_KEYS: hash("k") };
    expect((await ask(own, "m")).status).toBe(200);
    for (const [env, key] of [
      [own, "k"],
      [own, null],
      [{}, "m"],
    ] as const) {
      expect((await ask(env, key)).status).toBe(401);
    }
    expect(await (await ask({ API_KEYS: hash("k") }, "k")).text()).toContain('x{worker="a:1"} 1');
  });
});
