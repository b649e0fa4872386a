import { createHash } from "node:crypto";
import { createTokenizer } from "../../edge/text/tokenizer.ts";

/** A byte-level BPE of 256 byte tokens, a few merges and three control tokens. */

const MERGES = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "Ġwor l", "Ġworl d"];

export const END = 257;
export const IM_START = 258;
export const IM_END = 259;

function byteAlphabet(): string[] {
  const printable = (b: number) => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
}

function tokenizerFile(): Uint8Array<ArrayBuffer> {
  const added = ["<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"];
  const texts = [...byteAlphabet(), ...added, ...MERGES.map((merge) => merge.replace(" ", ""))];
  const file = {
    version: "1.0",
    added_tokens: added.map((content, i) => ({
      id: 256 + i,
      content,
      special: true,
      lstrip: false,
      rstrip: false,
      single_word: false,
      normalized: false,
    })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE", vocab: Object.fromEntries(texts.map((text, id) => [text, id])), merges: MERGES },
  };
  return new TextEncoder().encode(JSON.stringify(file));
}

export const TOKENIZER = tokenizerFile();
export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const TOKENIZER_HASH = sha256(TOKENIZER);
export const tokenizer = createTokenizer(TOKENIZER);
export const tokensOf = (text: string): number[] => tokenizer.encodeMarked(text);
