/** One streamed answer over HTTP, timed at the client. */
export interface Timed {
  readonly tokens: number;
  readonly cachedTokens: number;
  /** Until the first content, ms. */
  readonly ttftMs: number;
  /** Between one chunk of content and the next, ms. */
  readonly gapsMs: readonly number[];
  /** Tokens after the first content chunk, and the time they took. */
  readonly tokensPerSecond: number;
  readonly steps: number;
  /** Medians as the edge reports them, ms. */
  readonly stepMs: number;
  readonly wireMs: number;
}

/** A service to ask. */
export interface Client {
  readonly url: string;
  readonly model: string;
  /** null: the service asks for none. */
  readonly key: string | null;
}

/** What is asked: a user's message, or the tokens of a text to continue. */
export type Asked = { readonly content: string } | { readonly tokens: readonly number[] };

interface Chunk {
  readonly choices: readonly { readonly text?: string; readonly delta?: { readonly content?: string } }[];
  readonly error?: { readonly message: string };
  readonly usage?: {
    readonly completion_tokens: number;
    readonly prompt_tokens_details: { readonly cached_tokens: number };
  } | null;
  readonly metrics?: {
    /** null for plain decoding, where every token after the first is a step. */
    readonly speculative_decoding: { readonly num_spec_steps: number } | null;
    readonly timings: { readonly step_ms: { readonly p50: number }; readonly round_trip_ms: { readonly p50: number } };
  };
}

/** Asks for `maxTokens` greedy tokens; `speculation` is the request field of that name, `more` any others. */
export async function timeAnswer(
  { url, model, key }: Client,
  asked: Asked,
  maxTokens: number,
  speculation: object,
  more: object = {},
): Promise<Timed> {
  const chat = "content" in asked;
  const askedAt = performance.now();
  const response = await fetch(`${url}/v1/${chat ? "chat/completions" : "completions"}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(key === null ? {} : { authorization: `Bearer ${key}` }) },
    body: JSON.stringify({
      model,
      ...(chat ? { messages: [{ role: "user", content: asked.content }] } : { prompt: asked.tokens }),
      max_tokens: maxTokens,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
      speculation,
      ...more,
    }),
  });
  if (!response.ok || !response.body) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  const times: number[] = [];
  let usage: Chunk["usage"];
  let metrics: Chunk["metrics"];
  for await (const chunk of events(response.body)) {
    if (chunk.error) throw new Error(chunk.error.message);
    if (chunk.choices[0]?.delta?.content || chunk.choices[0]?.text) times.push(performance.now());
    usage = chunk.usage ?? usage;
    metrics = chunk.metrics ?? metrics;
  }
  if (!metrics || !usage) throw new Error("the answer came without metrics");
  const tokens = usage.completion_tokens;
  const first = times[0] ?? performance.now();
  return {
    tokens,
    cachedTokens: usage.prompt_tokens_details.cached_tokens,
    ttftMs: first - askedAt,
    gapsMs: times.slice(1).map((time, i) => time - times[i]!),
    // Prefill's one token opens the stream; everything after it is decoding.
    tokensPerSecond: (tokens - 1) / (((times.at(-1) ?? first) - first) / 1000),
    steps: metrics.speculative_decoding?.num_spec_steps ?? tokens - 1,
    stepMs: metrics.timings.step_ms.p50,
    wireMs: metrics.timings.round_trip_ms.p50,
  };
}

async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<Chunk> {
  let pending = "";
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    pending += text;
    const frames = pending.split("\n\n");
    pending = frames.pop() ?? "";
    for (const frame of frames) {
      if (frame.startsWith("data: {")) yield JSON.parse(frame.slice("data: ".length)) as Chunk;
    }
  }
}
