"""Tokenizer and token stream of the `tiny` bundle, from the directory that holds train/ and corpus/.

Documents are chats in the ChatML template of SmolLM2 or plain prose; each ends with
<|endoftext|>. Nothing from eval/ is read. The stream is two arrays of equal length: token ids
and the loss weight of predicting each token. Every 50th document of a source is validation.
"""

import json
import lzma
import random
import zlib
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_OF_TEXT, IM_START, IM_END = range(3)
VOCAB = 2048
# The system message is the same in every chat, and a prompt is not what the heads must foresee.
WEIGHT = {"system": 0.05, "user": 0.2, "assistant": 1.0, "prose": 1.0}

# file -> (characters taken, longest document in characters)
CHAT = {
    "instruct": (5_000_000, 1600),
    "instruct_oasst_eval": (3_000_000, 1600),
    "qa": (3_000_000, 500),
    "gsm8k_train": (4_000_000, 1600),
    "dialogue": (7_000_000, 2400),
}
PROSE = {
    "wikipedia_en_good_featured": (3_000_000, 4000),
    "fiction_public_domain": (4_000_000, 4000),
}


def _mostly_ascii(text):
    return sum(c < "\x7f" for c in text) > 0.97 * len(text)


def _chats(path, budget, longest, rng):
    """Chats as lists of (role, text), shuffled, until `budget` characters are used."""
    with lzma.open(path, "rt", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    rng.shuffle(rows)
    for row in rows:
        texts = [t["text"] for t in row["turns"]] if "turns" in row else [row["prompt"], row["response"]]
        texts = texts[: len(texts) // 2 * 2]
        size = sum(map(len, texts))
        if not texts or not all(texts) or size > longest or not _mostly_ascii("".join(texts)):
            continue
        budget -= size
        if budget < 0:
            return
        roles = ["user", "assistant"] * (len(texts) // 2)
        yield [("system", SYSTEM), *zip(roles, texts)]


def _prose(path, budget, longest, rng):
    """Pieces of whole paragraphs from evenly spread places of the file."""
    with lzma.open(path, "rt", encoding="utf-8") as f:
        text = f.read()
    starts = list(range(0, len(text) - longest, len(text) * longest // budget))
    rng.shuffle(starts)
    for at in starts:
        begin = text.find("\n", at, at + longest) + 1
        piece = text[begin : at + longest].strip()
        if begin and _mostly_ascii(piece):
            yield [("prose", piece)]


def documents(root, seed):
    """All documents as lists of (role, text); the same list for the same seed."""
    root, out = Path(root), []
    for name, (budget, longest) in CHAT.items():
        rng = random.Random(seed + zlib.crc32(name.encode()))
        out.append(list(_chats(root / "train" / f"{name}.jsonl.xz", budget, longest, rng)))
    for name, (budget, longest) in PROSE.items():
        rng = random.Random(seed + zlib.crc32(name.encode()))
        out.append(list(_prose(root / "corpus" / f"{name}.txt.xz", budget, longest, rng)))
    return out


def train_tokenizer(docs):
    """Byte-level BPE whose pre-tokenizer is the one GGUF calls "smollm"."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    sample = (text for group in docs for doc in group[::3] for _, text in doc)
    tokenizer.train_from_iterator(sample, trainer)
    return tokenizer


def encode(tokenizer, doc):
    """(ids, loss weight of each id) of one document."""
    ids, weights = [], []

    def put(tokens, weight):
        ids.extend(tokens)
        weights.extend([weight] * len(tokens))

    def plain(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    for role, text in doc:
        if role == "prose":
            put(plain(text), WEIGHT[role])
            continue
        put([IM_START, *plain(f"{role}\n")], WEIGHT["system"])
        put([*plain(text), IM_END], WEIGHT[role])
        put(plain("\n"), WEIGHT["system"])
    put([END_OF_TEXT], WEIGHT["system"])
    return ids, weights


def prepare(root, cache, seed):
    """Tokenizer and {train, valid}: (tokens uint16 [N], weights float32 [N]), cached in `cache`."""
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    saved = cache / "stream.npz"
    if saved.exists():
        data = np.load(saved)
        tokenizer = Tokenizer.from_file(str(cache / "tokenizer.json"))
        return tokenizer, {k: (data[f"{k}_tokens"], data[f"{k}_weights"]) for k in ("train", "valid")}
    docs = documents(root, seed)
    tokenizer = train_tokenizer(docs)
    tokenizer.save(str(cache / "tokenizer.json"))
    parts = {"train": [], "valid": []}
    for group in docs:
        for i, doc in enumerate(group):
            parts["valid" if i % 50 == 7 else "train"].append(doc)
    out = {}
    for key, chosen in parts.items():
        random.Random(seed).shuffle(chosen)
        pairs = [encode(tokenizer, doc) for doc in chosen]
        tokens = np.array([t for ids, _ in pairs for t in ids], np.uint16)
        weights = np.array([w for _, ws in pairs for w in ws], np.float32)
        out[key] = (tokens, weights)
    temporary = cache / "stream.part.npz"
    np.savez(temporary, **{f"{k}_{n}": a for k, v in out.items() for n, a in zip(("tokens", "weights"), v)})
    temporary.replace(saved)
    return tokenizer, out
