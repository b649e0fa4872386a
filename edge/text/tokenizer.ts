import { Tokenizer } from "@huggingface/tokenizers";
import type { TokenId } from "../../shared/ids.ts";
import { withExactSplits } from "../../shared/tokenizer-json.ts";
import type { TokenTable } from "./detokenize.ts";

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

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/**
 * Builds a tokenizer from tokenizer.json. Throws Error on anything but byte-level BPE without a text
 * normalizer and SentencePiece's with bytes to fall back to, because the byte table would be wrong for it.
 */
export function createTokenizer(json: Uint8Array): TextTokenizer {
  const file: unknown = JSON.parse(new TextDecoder().decode(json));
  const { vocab, added, pieces } = checkFile(file);
  // Control tokens are split off here and not by the library, so that text of users is never searched for them.
  const library = new Tokenizer(withExactSplits({ ...(file as object), added_tokens: [] }), {});
  const byName = new Map(added.map((t) => [t.content, t.id]));
  const hidden = new Set(added.filter((t) => t.special).map((t) => t.id));
  const bytes = tokenBytes(vocab, added, pieces ? pieceBytes : alphabetBytes());
  const splitter =
    byName.size === 0 ? null : new RegExp(`(${[...byName.keys()].sort(longestFirst).map(escapeRegExp).join("|")})`);
  const encodePlain = (text: string): TokenId[] =>
    text === "" ? [] : library.encode(text, { add_special_tokens: false }).ids;
  const names = new Map<TokenId, string>(added.map((t) => [t.id, t.content]));
  return {
    size: bytes.length,
    controlNames: [...byName.keys()],
    bytes: (token) => bytes[token] ?? NO_BYTES,
    hidden: (token) => hidden.has(token),
    name: (token) => names.get(token) ?? "",
    encodePlain,
    encodeMarked: (text, plain = (part) => part) =>
      (splitter === null ? [text] : text.split(splitter)).flatMap((part) => {
        const id = byName.get(part);
        return id === undefined ? encodePlain(plain(part)) : [id];
      }),
  };
}

const NO_BYTES = new Uint8Array(0);

function longestFirst(a: string, b: string): number {
  return b.length - a.length;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}

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
  for (const { id, content } of added) out[id] = utf8.encode(content);
  return out;
}

const utf8 = new TextEncoder();

function alphabetBytes(): (token: string) => Uint8Array {
  const ofChar = byteOfChar();
  return (text) => {
    const mapped = [...text].map((c) => ofChar.get(c));
    // A vocabulary entry outside the byte alphabet is literal text, as the library's decoder has it.
    return mapped.every((b) => b !== undefined) ? Uint8Array.from(mapped) : utf8.encode(text);
  };
}

/** "<0x0A>" is a byte; U+2581 stands for a space. */
function pieceBytes(piece: string): Uint8Array {
  const byte = /^<0x([0-9A-F]{2})>$/.exec(piece);
  return byte === null ? utf8.encode(piece.replaceAll("\u2581", " ")) : Uint8Array.of(Number.parseInt(byte[1]!, 16));
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
