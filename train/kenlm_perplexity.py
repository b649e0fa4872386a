"""Compares the n-gram trainer with KenLM's lmplz: perplexity at equal order and count pruning on the same tokens.

  pip install kenlm
  python train/kenlm_perplexity.py --lmplz LMPLZ --tokenizer TOKENIZER_JSON --work DIR FILE.u16

LMPLZ is built from the source that the kenlm package on PyPI holds (cmake, target lmplz). Documents whose number within
their input file is 7 modulo 50 are held out and scored, their end not counted. Ours is measured before a pack rounds it.
"""

import argparse
import json
import subprocess
from pathlib import Path

import kenlm
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ["0,0", "0,0,1", "0,0,1,1", "0,1,3,5", "0,3,8,12"]
SEPARATOR = 65535


def documents(path, held_out):
    """Token arrays of one side of the split. An empty document ends an input file and restarts the numbering."""
    ids, start, number = np.fromfile(path, "<u2"), 0, 0
    for end in np.flatnonzero(ids == SEPARATOR):
        if end > start:
            if (number % 50 == 7) == held_out:
                yield ids[start:end]
            number += 1
        else:
            number = 0
        start = end + 1


def text(path, held_out):
    return "".join(" ".join(map(str, doc.tolist())) + "\n" for doc in documents(path, held_out))


def perplexity(arpa, lines):
    """Of the tokens alone: lmplz also predicts the ends of documents."""
    model, total, count = kenlm.Model(str(arpa)), 0.0, 0
    for line in lines:
        scores = [score for score, _, _ in model.full_scores(line)][:-1]
        total += sum(scores)
        count += len(scores)
    return 10 ** (-total / count)


def theirs(lmplz, thresholds, train, dev, work):
    counts = thresholds.split(",")
    arpa = work / "model.arpa"
    command = [lmplz, "-o", str(len(counts)), "--prune", *counts, "--discount_fallback", "-S", "4G", "-T", str(work)]
    with train.open() as stdin, arpa.open("w") as stdout:
        subprocess.run(command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, check=True)
    result = perplexity(arpa, dev)
    arpa.unlink()
    return result


def ours(tokenizer, thresholds, path):
    order = str(len(thresholds.split(",")))
    command = ["npm", "run", "--silent", "ngram", "--", "train", "--tokenizer", tokenizer, "--order", order]
    command += ["--prune", thresholds, "--max-bytes", "none", "--hold-out", "7:50", str(path)]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lmplz", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("tokens", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    train, dev = args.work / "train.txt", text(args.tokens, True).splitlines()
    train.write_text(text(args.tokens, False))
    print("| order | count pruning | our n-grams | lmplz | ours | ours / lmplz |\n|---|---|---|---|---|---|")
    for thresholds in SETTINGS:
        reference = theirs(args.lmplz, thresholds, train, dev, args.work)
        result = ours(args.tokenizer, thresholds, args.tokens.resolve())
        ngrams, found = sum(result["ngrams"]), result["perplexity"]
        order, counts = len(thresholds.split(",")), thresholds.replace(",", " ")
        print(f"| {order} | {counts} | {ngrams:,} | {reference:.1f} | {found:.1f} | {found / reference:.4f} |", flush=True)
    train.unlink()


if __name__ == "__main__":
    main()
