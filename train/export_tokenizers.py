"""Small tokenizers of every family in models/tokenizer.ts, and the ids that `tokenizers` gives varied strings.

  python train/export_tokenizers.py --out test/models/tokenizers

Merges are learned without any split of words, so that they cross everything a family's split keeps apart. NAME.gguf
holds metadata alone; NAME.json the strings' ids. The pre-tokenizers are those of the published tokenizer.json files.
"""

import argparse
import json
from pathlib import Path

import gguf
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from golden_texts import texts

VOCABULARY = 800
SPACE = "\u2581"
TAIL = r"|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n%s]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
)


def split(regex):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(regex), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
BYTE_LEVEL = {
    "gpt-2": (gpt2, False),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2]), False),
    "llama-bpe": (split(WORDS + TAIL % ("{1,3}", "")), True),
    "qwen2": (split(WORDS + TAIL % ("", "")), False),
    "tekken": (split(CASED + TAIL % ("", "/")), True),
}


def learn():
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.train_from_iterator(texts(200, seed=1), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return list(model["vocab"]), [tuple(pair) for pair in model["merges"]]


def pieces():
    """SentencePiece's kind: control tokens, bytes, then pieces learned from words with their spaces; scores fall."""
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - 259, show_progress=False)
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    tokenizer.train_from_iterator(texts(200, seed=1), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    letters = [t for t in model["vocab"] if len(t) == 1]
    longer = [t for t in model["vocab"] if len(t) > 1]
    return ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *longer, *letters]


def sentencepiece(tokens, prefix):
    """As `transformers` converts it."""
    scores = {t: -float(i) for i, t in enumerate(tokens[259:])}
    ids = {t: i for i, t in enumerate(tokens)}
    merges = []
    for piece, score in scores.items():
        cuts = [(piece[:i], piece[i:], score) for i in range(1, len(piece))]
        local = [cut for cut in cuts if cut[0] in scores and cut[1] in scores]
        merges.extend(sorted(local, key=lambda cut: (ids[cut[0]], ids[cut[1]])))
    merges = [cut[:2] for cut in sorted(merges, key=lambda cut: cut[2], reverse=True)]
    tokenizer = tokenizers.Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replace = normalizers.Replace(" ", SPACE)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), replace]) if prefix else replace
    return tokenizer, list(scores.values())


def writer(path, model, tokens, kinds):
    out = gguf.GGUFWriter(path, "llama")
    out.add_tokenizer_model(model)
    out.add_token_list(tokens)
    out.add_token_types(kinds)
    return out


def finish(out, path, tokenizer):
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    strings = texts(170, seed=9)
    ids = [" ".join(map(str, tokenizer.encode(t, add_special_tokens=False).ids)) for t in strings]
    made_with = f"tokenizers {tokenizers.__version__}"
    path.with_suffix(".json").write_text(json.dumps(dict(made_with=made_with, ids=ids)) + "\n")
    (path.parent / "strings.json").write_text(json.dumps(strings) + "\n")
    print(path.name, path.stat().st_size, "bytes")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--out", type=Path, required=True)
    out = a.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    kind = gguf.TokenType
    tokens, merges = learn()
    for pre, (steps, ignore) in BYTE_LEVEL.items():
        path = out / f"{pre}.gguf"
        model = models.BPE({t: i for i, t in enumerate(tokens)}, merges, ignore_merges=ignore)
        tokenizer = tokenizers.Tokenizer(model)
        tokenizer.pre_tokenizer = steps
        tokenizer.add_special_tokens(tokens[:3])
        file = writer(path, "gpt2", tokens, [kind.CONTROL] * 3 + [kind.NORMAL] * (len(tokens) - 3))
        file.add_tokenizer_pre(pre)
        file.add_token_merges([" ".join(pair) for pair in merges])
        finish(file, path, tokenizer)
    tokens = pieces()
    kinds = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256 + [kind.NORMAL] * (len(tokens) - 259)
    for name, prefix in (("llama-spm", True), ("gemma", False)):
        path = out / f"{name}.gguf"
        tokenizer, scores = sentencepiece(tokens, prefix)
        file = writer(path, "llama", tokens, kinds)
        file.add_token_scores([0.0] * 259 + scores)
        file.add_add_space_prefix(prefix)
        finish(file, path, tokenizer)


if __name__ == "__main__":
    main()
