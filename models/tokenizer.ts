import type { GgufFile } from "./gguf.ts";

/** llama.cpp's token types: 3 marks a control token. */
const CONTROL = 3;
const USER_DEFINED = 4;

/** How each `tokenizer.ggml.pre` splits text before the merges; all are byte-level. */
const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
const PRE_TOKENIZERS: Readonly<Record<string, object>> = {
  "gpt-2": BYTE_LEVEL,
  default: BYTE_LEVEL,
  smollm: { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, BYTE_LEVEL] },
};

const VOCAB_HERE = "\u0000vocab";

/**
 * tokenizer.json (Hugging Face's format) from GGUF metadata, laid out as the `tokenizers` library
 * writes it: for SmolLM2 the bytes equal the published file's. Throws for kinds not supported.
 */
export function rebuildTokenizer(file: GgufFile): string {
  const model = file.string("tokenizer.ggml.model");
  if (model !== "gpt2")
    throw new Error(`${file.path}: tokenizer ${model} is not supported, only byte-level BPE (gpt2)`);
  const pre = file.string("tokenizer.ggml.pre", "default");
  const preTokenizer = PRE_TOKENIZERS[pre];
  if (!preTokenizer) throw new Error(`${file.path}: pre-tokenizer ${pre} is not supported`);
  const tokens = file.list("tokenizer.ggml.tokens") as string[];
  const types = file.list("tokenizer.ggml.token_type") as number[];
  const added = tokens.flatMap((content, id) => {
    const type = Number(types[id]);
    if (type !== CONTROL && type !== USER_DEFINED) return [];
    const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return [{ id, content, ...plain, special: type === CONTROL }];
  });
  const text = JSON.stringify(
    {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: null,
      pre_tokenizer: preTokenizer,
      post_processor: null,
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: VOCAB_HERE,
        merges: file.list("tokenizer.ggml.merges"),
      },
    },
    null,
    2,
  );
  // Written by hand: a JavaScript object would put the keys "0" to "9" before all others.
  const entries = tokens.map((token, id) => `      ${JSON.stringify(token)}: ${id}`);
  return text.replace(JSON.stringify(VOCAB_HERE), () => `{\n${entries.join(",\n")}\n    }`);
}
