import type { TokenId } from "./ids.ts";

/** Bytes of every token; `hidden` ones (control tokens) add nothing to the text. */
export interface TokenTable {
  readonly size: number;
  bytes(token: TokenId): Uint8Array;
  /** Control tokens, e.g. <|im_end|>. */
  hidden(token: TokenId): boolean;
}
