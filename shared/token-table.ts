import { encodeUtf8 } from "./grammar/utf8.ts";
import type { TokenId } from "./ids.ts";

/** Bytes of every token; `hidden` ones (control tokens) add nothing to the text. */
export interface TokenTable {
  readonly size: number;
  bytes(token: TokenId): Uint8Array;
  /** Control tokens, e.g. <|im_end|>. */
  hidden(token: TokenId): boolean;
}

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/**
 * The tokens of a parsed tokenizer.json. Throws Error on anything but byte-level BPE without a text normalizer, because
 * the byte table would be wrong for it.
 */
export function readTokenTable(file: unknown): { readonly table: TokenTable; readonly added: readonly AddedToken[] } {
  const { vocab, added } = checkFile(file);
  const hidden = new Set(added.filter((t) => t.special).map((t) => t.id));
  const bytes = tokenBytes(vocab, added);
  const table = {
    size: bytes.length,
    bytes: (token: TokenId) => bytes[token] ?? NO_BYTES,
    hidden: (token: TokenId) => hidden.has(token),
  };
  return { table, added };
}

const NO_BYTES = new Uint8Array(0);

function checkFile(file: unknown): { vocab: Readonly<Record<string, number>>; added: readonly AddedToken[] } {
  if (!isRecord(file) || !isRecord(file.model) || file.model.type !== "BPE" || !isRecord(file.model.vocab)) {
    throw new Error("tokenizer.json: not a BPE tokenizer");
  }
  if (!isRecord(file.decoder) || file.decoder.type !== "ByteLevel" || file.normalizer != null) {
    throw new Error("tokenizer.json: only byte-level tokenizers without a normalizer are supported");
  }
  const added = Array.isArray(file.added_tokens) ? file.added_tokens.map(checkAdded) : [];
  const vocab: Record<string, number> = {};
  for (const [text, id] of Object.entries(file.model.vocab)) {
    if (typeof id !== "number") throw new Error(`tokenizer.json: token ${text} has no id`);
    vocab[text] = id;
  }
  return { vocab, added };
}

function checkAdded(token: unknown): AddedToken {
  if (!isRecord(token) || typeof token.id !== "number" || typeof token.content !== "string" || token.content === "") {
    throw new Error("tokenizer.json: malformed added token");
  }
  if (token.lstrip === true || token.rstrip === true || token.single_word === true) {
    throw new Error(`tokenizer.json: added token ${token.content} strips its surroundings, which is not supported`);
  }
  return { id: token.id, content: token.content, special: token.special === true };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** [vocabulary] bytes of every token; added tokens are their own text. */
function tokenBytes(vocab: Readonly<Record<string, number>>, added: readonly AddedToken[]): Uint8Array[] {
  const ofChar = byteOfChar();
  const out: Uint8Array[] = [];
  for (const [text, id] of Object.entries(vocab)) {
    const chars = [...text];
    const mapped = chars.map((c) => ofChar.get(c));
    // A vocabulary entry outside the byte alphabet is literal text, as the library's decoder has it.
    out[id] = mapped.every((b) => b !== undefined) ? Uint8Array.from(mapped) : Uint8Array.from(encodeUtf8(text));
  }
  for (const { id, content } of added) out[id] = Uint8Array.from(encodeUtf8(content));
  return out;
}

/**
 * GPT-2's byte alphabet, reversed: printable Latin-1 characters stand for themselves, the other bytes
 * for the code points from U+0100 on, in rising order.
 */
function byteOfChar(): Map<string, number> {
  const out = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    out.set(String.fromCodePoint(printable ? byte : next++), byte);
  }
  return out;
}
