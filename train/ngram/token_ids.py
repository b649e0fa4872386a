"""Tokenise documents into a .u16 file for the n-gram trainer, faster than the JavaScript tokenizer can.

  python train/ngram/token_ids.py --tokenizer tokenizer.json --out FILE.u16 INPUT...

INPUT: .txt or .txt.xz (documents separated by two blank lines), or .npz shards of train/generate.py
(`tokens`, `offsets`: one document per sequence). Each document is followed by the separator 65535; each
input file is followed by a second separator (an empty document), so that document numbers can restart.
"""

import argparse
import lzma
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

SEPARATOR = 65535


def texts(path):
    """The documents of one text file."""
    data = lzma.open(path, "rt", encoding="utf-8", newline="") if path.suffix == ".xz" else path.open(newline="")
    with data as file:
        return [document.strip("\n") for document in file.read().split("\n\n\n") if document.strip("\n")]


def documents(path, tokenizer):
    """Token id arrays of one input's documents."""
    if path.suffix == ".npz":
        with np.load(path) as shard:
            yield from np.split(shard["tokens"], shard["offsets"][1:-1])
        return
    batch = texts(path)
    for start in range(0, len(batch), 256):
        for encoding in tokenizer.encode_batch(batch[start : start + 256], add_special_tokens=False):
            yield np.array(encoding.ids, dtype=np.uint16)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("inputs", nargs="+", type=Path)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(args.tokenizer)
    assert tokenizer.get_vocab_size() < SEPARATOR
    partial = Path(args.out + ".part")
    separator = np.array([SEPARATOR], dtype=np.uint16)
    with partial.open("wb") as out:
        for path in args.inputs:
            count = 0
            for ids in documents(path, tokenizer):
                out.write(ids.astype("<u2").tobytes() + separator.tobytes())
                count += len(ids)
            out.write(separator.tobytes())
            print(f"{path.name}: {count} tokens", flush=True)
    partial.rename(args.out)


if __name__ == "__main__":
    main()
