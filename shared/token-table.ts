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
 * The tokens of a parsed tokenizer.json. Throws Error on anything but byte-level BPE without a text normalizer and
 * SentencePiece's BPE with bytes to fall back to, because the byte table would be wrong for it.
 */
export function readTokenTable(file: unknown): { readonly table: TokenTable; readonly added: readonly AddedToken[] } {
  const { vocab, added, pieces } = checkFile(file);
  const hidden = new Set(added.filter((t) => t.special).map((t) => t.id));
  const bytes = tokenBytes(vocab, added, pieces ? pieceBytes : alphabetBytes());
  const table = {
    size: bytes.length,
    bytes: (token: TokenId) => bytes[token] ?? NO_BYTES,
    hidden: (token: TokenId) => hidden.has(token),
  };
  return { table, added };
}

const NO_BYTES = new Uint8Array(0);

interface Checked {
  readonly vocab: Readonly<Record<string, number>>;
  readonly added: readonly AddedToken[];
  /** Whether tokens are SentencePiece's pieces. */
  readonly pieces: boolean;
}

function checkFile(file: unknown): Checked {
  if (!isRecord(file) || !isRecord(file.model) || file.model.type !== "BPE" || !isRecord(file.model.vocab)) {
    throw new Error("tokenizer.json: not a BPE tokenizer");
  }
  const pieces = file.model.byte_fallback === true;
  const byteLevel = isRecord(file.decoder) && file.decoder.type === "ByteLevel" && file.normalizer == null;
  if (!pieces && !byteLevel) {
    throw new Error(
      "tokenizer.json: only byte-level tokenizers without a normalizer and SentencePiece's are supported",
    );
  }
  const added = Array.isArray(file.added_tokens) ? file.added_tokens.map(checkAdded) : [];
  const vocab: Record<string, number> = {};
  for (const [text, id] of Object.entries(file.model.vocab)) {
    if (typeof id !== "number") throw new Error(`tokenizer.json: token ${text} has no id`);
    vocab[text] = id;
  }
  return { vocab, added, pieces };
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
function tokenBytes(
  vocab: Readonly<Record<string, number>>,
  added: readonly AddedToken[],
  bytesOf: (token: string) => Uint8Array,
): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (const [text, id] of Object.entries(vocab)) out[id] = bytesOf(text);
  for (const { id, content } of added) out[id] = Uint8Array.from(encodeUtf8(content));
  return out;
}

function alphabetBytes(): (token: string) => Uint8Array {
  const ofChar = byteOfChar();
  return (text) => {
    const mapped = [...text].map((c) => ofChar.get(c));
    // A vocabulary entry outside the byte alphabet is literal text, as the library's decoder has it.
    return mapped.every((b) => b !== undefined) ? Uint8Array.from(mapped) : Uint8Array.from(encodeUtf8(text));
  };
}

/** "<0x0A>" is a byte; U+2581 stands for a space. */
function pieceBytes(piece: string): Uint8Array {
  const byte = /^<0x([0-9A-F]{2})>$/.exec(piece)?.[1];
  return byte === undefined
    ? Uint8Array.from(encodeUtf8(piece.replaceAll("\u2581", " ")))
    : Uint8Array.of(Number.parseInt(byte, 16));
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
