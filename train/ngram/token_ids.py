"""Tokenise documents into a .u16 or .u32 file for the n-gram trainer, faster than the JavaScript tokenizer can.

  python train/ngram/token_ids.py --tokenizer tokenizer.json --out FILE.u16 [--tasks A,B] INPUT...

INPUT: .txt or .txt.xz (documents separated by two blank lines); .jsonl or .jsonl.xz (each string of prompt,
response, text and turns is a document); or .npz shards of train/generate.py (one document per prompt, so that its
continuations are held out together: what the base model wrote, each time led by the prompt's last token).
--tasks takes only these tasks out of shards. Each document is followed by the separator 65535; each input file
is followed by a second separator (an empty document), so that document numbers can restart. A vocabulary of 65,535
tokens or more takes FILE.u32, whose separator is 4294967295.
"""

import argparse
import json
import lzma
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

WIDTHS = {".u16": np.dtype("<u2"), ".u32": np.dtype("<u4")}  # the largest id is the separator


def texts(path):
    """The documents of one text file."""
    data = lzma.open(path, "rt", encoding="utf-8", newline="") if path.suffix == ".xz" else path.open(newline="")
    with data as file:
        text = file.read()
    if ".jsonl" in path.suffixes:
        return [field for line in text.split("\n") if line.strip() for field in row_texts(json.loads(line))]
    return [document.strip("\n") for document in text.split("\n\n\n") if document.strip("\n")]


def row_texts(row):
    turns = [turn["text"] if isinstance(turn, dict) else turn for turn in row.get("turns", [])]
    return [text for text in (row.get("prompt"), row.get("response"), row.get("text"), *turns) if text]


def documents(path, tokenizer, tasks):
    """Token id arrays of one input's documents."""
    if path.suffix == ".npz":
        with np.load(path) as shard:
            first = np.flatnonzero(np.diff(shard["prompt_of"], prepend=-1))  # of each prompt's continuations
            written = np.split(shard["tokens"], shard["offsets"][first[1:]])
            wanted = np.isin(shard["tasks"][first], tasks) if tasks else np.ones(len(first), bool)
            yield from (ids for ids, keep in zip(written, wanted, strict=True) if keep)
        return
    batch = texts(path)
    for start in range(0, len(batch), 256):
        for encoding in tokenizer.encode_batch(batch[start : start + 256], add_special_tokens=False):
            yield np.array(encoding.ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--tasks", type=lambda names: names.split(","), default=[])
    parser.add_argument("inputs", nargs="+", type=Path)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(args.tokenizer)
    width = WIDTHS.get(Path(args.out).suffix)
    if width is None or tokenizer.get_vocab_size() > np.iinfo(width).max:
        parser.error(f"--out {args.out}: {tokenizer.get_vocab_size()} tokens take a .u16 file below 65,535, else .u32")
    partial = Path(args.out + ".part")
    separator = np.array([np.iinfo(width).max], dtype=width)
    with partial.open("wb") as out:
        for path in args.inputs:
            count = 0
            for ids in documents(path, tokenizer, args.tasks):
                out.write(ids.astype(width).tobytes() + separator.tobytes())
                count += len(ids)
            out.write(separator.tobytes())
            print(f"{path.name}: {count} tokens", flush=True)
    partial.rename(args.out)


if __name__ == "__main__":
    main()
