import { Tokenizer } from "@huggingface/tokenizers";
import type { TokenId } from "../../shared/ids.ts";
import { readTokenTable, type TokenTable } from "../../shared/token-table.ts";
import { withExactSplits } from "../../shared/tokenizer-json.ts";

/** A tokenizer of byte-level BPE or of SentencePiece's BPE, as text in and bytes out. */
export interface TextTokenizer extends TokenTable {
  /** Tokens of text in which nothing is a control token, whatever it looks like. */
  encodePlain(text: string): TokenId[];
  /**
   * Tokens of text whose control tokens (by name) stand for themselves. `plain` is applied to the text
   * between them before it is encoded.
   */
  encodeMarked(text: string, plain?: (text: string) => string): TokenId[];
  /** Texts of the control tokens. */
  readonly controlNames: readonly string[];
  /** The token's text in the vocabulary; "" for an unknown id. */
  name(token: TokenId): string;
}

/**
 * Builds a tokenizer from tokenizer.json. Throws Error on anything but byte-level BPE without a text
 * normalizer and SentencePiece's with bytes to fall back to, because the byte table would be wrong for it.
 */
export function createTokenizer(json: Uint8Array): TextTokenizer {
  const file: unknown = JSON.parse(new TextDecoder().decode(json));
  const { table, added } = readTokenTable(file);
  // Control tokens are split off here and not by the library, so that text of users is never searched for them.
  const library = new Tokenizer(withExactSplits({ ...(file as object), added_tokens: [] }), {});
  const byName = new Map(added.map((t) => [t.content, t.id]));
  const splitter =
    byName.size === 0 ? null : new RegExp(`(${[...byName.keys()].sort(longestFirst).map(escapeRegExp).join("|")})`);
  const encodePlain = (text: string): TokenId[] =>
    text === "" ? [] : library.encode(text, { add_special_tokens: false }).ids;
  const names = new Map<TokenId, string>(added.map((t) => [t.id, t.content]));
  return {
    ...table,
    controlNames: [...byName.keys()],
    name: (token) => names.get(token) ?? "",
    encodePlain,
    encodeMarked: (text, plain = (part) => part) =>
      (splitter === null ? [text] : text.split(splitter)).flatMap((part) => {
        const id = byName.get(part);
        return id === undefined ? encodePlain(plain(part)) : [id];
      }),
  };
}

function longestFirst(a: string, b: string): number {
  return b.length - a.length;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}
