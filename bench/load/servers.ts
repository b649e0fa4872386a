import { type Client, timeAnswer } from "../decode/http.ts";
import type { Llama } from "../decode/llama.ts";
import type { Server } from "./closed-loop.ts";

/** API keys, a new one each time. */
export interface Keys {
  next(): string;
}

/** Tokens of a sequence's share of llama.cpp's context. */
const SEQUENCE_TOKENS = 1024;

export function foredraft(at: Omit<Client, "key">, keys: Keys, speculation: object): Server {
  return {
    async begin() {
      const client = { ...at, key: keys.next() };
      return async (_stream, content, maxTokens) => {
        const { tokens, ttftMs, gapsMs, tokensPerSecond } = await timeAnswer(
          client,
          { content },
          maxTokens,
          speculation,
        );
        return { tokens, ttftMs, gapsMs, decodeRate: tokensPerSecond };
      };
    },
  };
}

export function llamaCpp(llama: Llama, encode: (content: string) => number[]): Server {
  return {
    async begin(streams) {
      await llama.renew(streams, SEQUENCE_TOKENS);
      return async (stream, content, maxTokens) => {
        const { times } = await llama.answer(stream, encode(content), maxTokens);
        const [first = 0] = times;
        return {
          tokens: times.length,
          ttftMs: first,
          gapsMs: times.slice(1).map((time, i) => time - times[i]!),
          decodeRate: (times.length - 1) / ((times.at(-1)! - first) / 1000),
        };
      };
    },
  };
}
