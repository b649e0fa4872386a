import type { TokenLogProbs } from "../../shared/engine.ts";
import type { LogProb, TokenId } from "../../shared/ids.ts";
import type { TokenTable } from "../../shared/token-table.ts";
import { tokenText } from "../text/detokenize.ts";
import type { TokenEntry } from "../text/transcript.ts";

/** JSON has no infinity; OpenAI's API writes this for a token that cannot happen. */
const IMPOSSIBLE = -9999;

interface ChatToken {
  readonly token: string;
  readonly logprob: LogProb;
  readonly bytes: readonly number[];
}

/** choices[].logprobs of the chat API. */
export interface ChatLogProbs {
  readonly content: readonly (ChatToken & { readonly top_logprobs: readonly ChatToken[] })[];
  readonly refusal: null;
}

/** choices[].logprobs of the completions API; all arrays have one entry per token. */
export interface CompletionLogProbs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly LogProb[];
  readonly top_logprobs: readonly Readonly<Record<string, LogProb>>[];
  /** UTF-16 offset of each token's text in the completion. */
  readonly text_offset: readonly number[];
}

export function chatLogProbs(table: TokenTable, entries: readonly TokenEntry[]): ChatLogProbs {
  return {
    content: entries.map(({ token, logProbs }) => ({
      ...chatToken(table, token, logProbs.logProb),
      top_logprobs: alternatives(logProbs).map(([id, logProb]) => chatToken(table, id, logProb)),
    })),
    refusal: null,
  };
}

export function completionLogProbs(table: TokenTable, entries: readonly TokenEntry[]): CompletionLogProbs {
  return {
    tokens: entries.map((e) => tokenText(table, e.token)),
    token_logprobs: entries.map((e) => finite(e.logProbs.logProb)),
    top_logprobs: entries.map((e) =>
      Object.fromEntries(alternatives(e.logProbs).map(([id, logProb]) => [tokenText(table, id), finite(logProb)])),
    ),
    text_offset: entries.map((e) => e.offset),
  };
}

function chatToken(table: TokenTable, token: TokenId, logProb: LogProb): ChatToken {
  return { token: tokenText(table, token), logprob: finite(logProb), bytes: [...table.bytes(token)] };
}

function alternatives({ topTokens, topLogProbs }: TokenLogProbs): [TokenId, LogProb][] {
  return Array.from(topTokens, (token, i) => [token, topLogProbs[i] ?? Number.NEGATIVE_INFINITY]);
}

function finite(logProb: LogProb): number {
  return Number.isFinite(logProb) ? logProb : IMPOSSIBLE;
}
