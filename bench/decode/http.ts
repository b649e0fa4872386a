/** One streamed answer over HTTP, timed at the client. */
export interface Timed {
  readonly tokens: number;
  /** Tokens after the first content chunk, and the time they took. */
  readonly tokensPerSecond: number;
  readonly steps: number;
  /** Medians as the edge reports them, ms. */
  readonly stepMs: number;
  readonly wireMs: number;
}

interface Chunk {
  readonly choices: readonly { readonly delta: { readonly content?: string } }[];
  readonly error?: { readonly message: string };
  readonly usage?: { readonly completion_tokens: number } | null;
  readonly metrics?: {
    /** null for plain decoding, where every token after the first is a step. */
    readonly speculative_decoding: { readonly num_spec_steps: number } | null;
    readonly timings: { readonly step_ms: { readonly p50: number }; readonly round_trip_ms: { readonly p50: number } };
  };
}

/** Asks for `maxTokens` greedy tokens; `speculation` is the request field of that name. */
export async function timeAnswer(
  url: string,
  model: string,
  prompt: string,
  maxTokens: number,
  speculation: object,
): Promise<Timed> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model,
      messages: [{ role: "user", content: prompt }],
      max_tokens: maxTokens,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
      speculation,
    }),
  });
  if (!response.ok || !response.body) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  let first = 0;
  let last = 0;
  let usage = 0;
  let metrics: Chunk["metrics"];
  for await (const chunk of events(response.body)) {
    if (chunk.error) throw new Error(chunk.error.message);
    if (chunk.choices[0]?.delta.content) {
      last = performance.now();
      first ||= last;
    }
    usage = chunk.usage?.completion_tokens ?? usage;
    metrics = chunk.metrics ?? metrics;
  }
  if (!metrics) throw new Error("the answer came without metrics");
  return {
    tokens: usage,
    // Prefill's one token opens the stream; everything after it is decoding.
    tokensPerSecond: (usage - 1) / ((last - first) / 1000),
    steps: metrics.speculative_decoding?.num_spec_steps ?? usage - 1,
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
