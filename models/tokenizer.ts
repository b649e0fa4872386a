import type { GgufFile } from "./gguf.ts";

/** llama.cpp's token types. */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;

/** What GPT-2's byte alphabet takes; splits come before it where a regex of its own makes them. */
const byteLevel = (use_regex: boolean) => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex,
});
const split = (regex: string) => ({
  type: "Sequence",
  pretokenizers: [{ type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false }, byteLevel(false)],
});

/** What most regexes since GPT-4's have in common. */
const CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const REST = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const WORD = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const UPPER = "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}";
const LOWER = "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}";
const CASED = `[^\\r\\n\\p{L}\\p{N}]?[${UPPER}]*[${LOWER}]+|[^\\r\\n\\p{L}\\p{N}]?[${UPPER}]+[${LOWER}]*`;

interface PreTokenizer {
  /** In the terms of tokenizer.json. */
  readonly steps: object;
  /** Whether a piece that is a token is not taken apart to be merged again. */
  readonly ignoreMerges: boolean;
}

const GPT2: PreTokenizer = { steps: byteLevel(true), ignoreMerges: false };
const LLAMA3: PreTokenizer = { steps: split(`${CONTRACTIONS}|${WORD}|\\p{N}{1,3}|${REST}`), ignoreMerges: true };
const QWEN2: PreTokenizer = { steps: split(`${CONTRACTIONS}|${WORD}|\\p{N}|${REST}`), ignoreMerges: false };

/** How each `tokenizer.ggml.pre` splits text before the merges; all are byte-level. */
const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map([
  ["gpt-2", GPT2],
  ["default", GPT2],
  [
    "smollm",
    {
      steps: { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel(true)] },
      ignoreMerges: false,
    },
  ],
  ["llama-bpe", LLAMA3],
  ["llama3", LLAMA3],
  ["llama-v3", LLAMA3],
  ["qwen2", QWEN2],
  ["deepseek-r1-qwen", QWEN2],
  ["tekken", { steps: split(`${CASED}|\\p{N}|${REST.replace("\\r\\n]*", "\\r\\n/]*")}`), ignoreMerges: true }],
]);

const VOCAB_HERE = "\u0000vocab";

/** The token that begins a text; null where texts begin without one. */
export function firstToken(file: GgufFile): number | null {
  const add = file.boolean("tokenizer.ggml.add_bos_token", file.string("tokenizer.ggml.model") === "llama");
  return add ? file.number("tokenizer.ggml.bos_token_id") : null;
}

/** Texts of tokens that end an answer, whatever the metadata names, as llama.cpp has them. */
const ENDS = new Set([
  "<|eot_id|>",
  "<|im_end|>",
  "<|end|>",
  "<end_of_turn>",
  "<|endoftext|>",
  "<|eom_id|>",
  "<EOT>",
  "<|end_of_text|>",
]);

/** Tokens that end a text or an answer. */
export function lastTokens(file: GgufFile): number[] {
  const named = ["eos", "eot", "eom"].map((name) => `tokenizer.ggml.${name}_token_id`);
  const ids = named.filter((key) => file.hasKey(key)).map((key) => file.number(key));
  for (const [id, token] of file.list("tokenizer.ggml.tokens").entries()) {
    if (ENDS.has(String(token)) && isControl(file, id)) ids.push(id);
  }
  return [...new Set(ids)];
}

function isControl(file: GgufFile, id: number): boolean {
  return Number(file.list("tokenizer.ggml.token_type")[id]) === CONTROL;
}

/**
 * tokenizer.json (Hugging Face's format) from GGUF metadata, laid out as the `tokenizers` library
 * writes it: for SmolLM2 the bytes equal the published file's. Throws for kinds not supported.
 */
export async function rebuildTokenizer(file: GgufFile): Promise<string> {
  const kind = file.string("tokenizer.ggml.model");
  const tokens = await file.strings("tokenizer.ggml.tokens");
  const types = file.list("tokenizer.ggml.token_type").map(Number);
  if (tokens.length === 0 || types.length !== tokens.length) {
    throw new Error(`${file.path}: tokenizer.ggml.token_type has ${types.length} entries for ${tokens.length} tokens`);
  }
  if (kind === "gpt2") return written(tokens, types, await byteLevelParts(file));
  if (kind === "llama") return written(tokens, types, sentencePieceParts(file, tokens, types));
  throw new Error(`${file.path}: tokenizer.ggml.model ${kind} is not supported, only gpt2 and llama`);
}

/** What tokenizer.json has beside vocabulary and control tokens. */
interface Parts {
  readonly normalizer: object | null;
  readonly pre_tokenizer: object | null;
  readonly decoder: object;
  readonly model: Readonly<Record<string, unknown>>;
}

async function byteLevelParts(file: GgufFile): Promise<Parts> {
  const pre = file.string("tokenizer.ggml.pre", "default");
  const preTokenizer = PRE_TOKENIZERS.get(pre);
  if (preTokenizer === undefined) {
    const known = [...PRE_TOKENIZERS.keys()].join(", ");
    throw new Error(`${file.path}: pre-tokenizer ${pre} (tokenizer.ggml.pre) is not supported; supported: ${known}`);
  }
  return {
    normalizer: null,
    pre_tokenizer: preTokenizer.steps,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: preTokenizer.ignoreMerges,
      vocab: VOCAB_HERE,
      merges: await file.strings("tokenizer.ggml.merges"),
    },
  };
}

/** SentencePiece's space. */
const SPACE = "\u2581";

/** As Hugging Face's conversion of SentencePiece's BPE: pieces join in the order of their scores. */
function sentencePieceParts(file: GgufFile, tokens: readonly string[], types: readonly number[]): Parts {
  const scores = file.list("tokenizer.ggml.scores").map(Number);
  if (scores.length !== tokens.length) {
    throw new Error(`${file.path}: tokenizer.ggml.scores has ${scores.length} entries for ${tokens.length} tokens`);
  }
  const spaces = { type: "Replace", pattern: { String: " " }, content: SPACE };
  const prefixed = file.boolean("tokenizer.ggml.add_space_prefix", true);
  const unknown = types.indexOf(UNKNOWN);
  return {
    normalizer: prefixed ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: SPACE }, spaces] } : spaces,
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: SPACE }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: unknown < 0 ? null : tokens[unknown],
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: VOCAB_HERE,
      merges: mergesOf(tokens, types, scores),
    },
  };
}

/** Longer pieces are not met: SentencePiece makes none. */
const LONGEST_PIECE = 64;

/** Every cut of a piece into two pieces, by the score of the whole, then as Hugging Face orders equal ones. */
function mergesOf(tokens: readonly string[], types: readonly number[], scores: readonly number[]): string[] {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) if (types[id] === NORMAL) ids.set(token, id);
  const merges: { readonly left: number; readonly right: number; readonly score: number }[] = [];
  for (const [token, id] of ids) {
    const characters = [...token];
    if (characters.length > LONGEST_PIECE) continue;
    for (let at = 1; at < characters.length; at++) {
      const left = ids.get(characters.slice(0, at).join(""));
      const right = ids.get(characters.slice(at).join(""));
      if (left !== undefined && right !== undefined) merges.push({ left, right, score: scores[id]! });
    }
  }
  merges.sort((a, b) => b.score - a.score || a.left - b.left || a.right - b.right);
  return merges.map(({ left, right }) => `${tokens[left]} ${tokens[right]}`);
}

function written(tokens: readonly string[], types: readonly number[], parts: Parts): string {
  const added = tokens.flatMap((content, id) => {
    if (types[id] !== CONTROL && types[id] !== USER_DEFINED) return [];
    const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return [{ id, content, ...plain, special: types[id] === CONTROL }];
  });
  const { normalizer, pre_tokenizer, decoder, model } = parts;
  const whole = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer,
    pre_tokenizer,
    post_processor: null,
    decoder,
    model,
  };
  // Written by hand: a JavaScript object would put the keys "0" to "9" before all others.
  const entries = tokens.map((token, id) => `      ${JSON.stringify(token)}: ${id}`);
  return JSON.stringify(whole, null, 2).replace(JSON.stringify(VOCAB_HERE), () => `{\n${entries.join(",\n")}\n    }`);
}
