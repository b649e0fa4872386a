/** One answer of a server. */
export interface LoadAnswer {
  readonly tokens: number;
  readonly ttftMs: number;
  /** Between pieces of the answer, ms. */
  readonly gapsMs: readonly number[];
  /** Tokens per second after the first. */
  readonly decodeRate: number;
}

/** What answers: our own service, or llama.cpp. */
export interface Server {
  /** Nothing of earlier runs is known to it; so many streams will come at once. */
  begin(streams: number): Promise<(stream: number, prompt: string, maxTokens: number) => Promise<LoadAnswer>>;
}

export interface LoadRun {
  readonly tokens: number;
  readonly seconds: number;
  /** All tokens over all time, prefill included. */
  readonly tokensPerSecond: number;
  readonly ttftMs: readonly number[];
  readonly gapsMs: readonly number[];
  readonly decodeRates: readonly number[];
}

/** So many streams, each asking again as soon as it is answered, until all answers are there. */
export async function runLoad(
  server: Server,
  prompts: readonly string[],
  { streams, answers, maxTokens }: { streams: number; answers: number; maxTokens: number },
): Promise<LoadRun> {
  const ask = await server.begin(streams);
  const all: LoadAnswer[] = [];
  let next = 0;
  const startedAt = performance.now();
  const stream = async (index: number) => {
    while (next < answers) all.push(await ask(index, prompts[next++ % prompts.length]!, maxTokens));
  };
  await Promise.all(Array.from({ length: streams }, (_, index) => stream(index)));
  const seconds = (performance.now() - startedAt) / 1000;
  const tokens = all.reduce((sum, answer) => sum + answer.tokens, 0);
  return {
    tokens,
    seconds,
    tokensPerSecond: tokens / seconds,
    ttftMs: all.map(({ ttftMs }) => ttftMs),
    gapsMs: all.flatMap(({ gapsMs }) => gapsMs),
    decodeRates: all.map(({ decodeRate }) => decodeRate).filter(Number.isFinite),
  };
}
