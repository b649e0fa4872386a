"""Writes the golden fixtures of test/ngram and test/rescore from KenLM and OpenFst.

  pip install kenlm pynini
  python train/export_ngram_golden.py --lmplz LMPLZ --work DIR

LMPLZ is KenLM's estimator, built from the source that the kenlm package on PyPI holds (cmake, target lmplz). The script also runs
`npm run ngram`, so that KenLM scores what our trainer exported. All text is made up and seeded.

kenlm.json: documents; a model that lmplz estimated from them, with KenLM's score of every token of some other documents;
and KenLM's scores of the same tokens under the ARPA file that our trainer made of the same documents.
openfst.json: lattices, that model rounded to sixteenths of a nat (so that a pack holds it exactly), and the 16 shortest
paths of OpenFst's composition of the two.
"""

import argparse
import json
import math
import random
import subprocess
from pathlib import Path

import kenlm
import numpy as np
import pywrapfst as fst

ROOT = Path(__file__).resolve().parent.parent
VOCAB, ORDER, PATHS = 48, 4, 16
GAP = 1e-4  # nats between neighbours: OpenFst sums in float32


def documents(rng, count, length):
    """Zipf-like tokens of which some follow from the one before."""
    out = []
    for _ in range(count):
        tokens = [0]
        for _ in range(length):
            follow = rng.random() < 0.5
            tokens.append((tokens[-1] * 7 + 3) % VOCAB if follow else int(VOCAB * rng.random() ** 2))
        out.append(tokens)
    return out


def lines(docs):
    return "".join(" ".join(map(str, doc)) + "\n" for doc in docs)


def estimate(lmplz, docs, work):
    command = [lmplz, "-o", str(ORDER), "--prune", "0", "0", "1", "1", "--discount_fallback", "-S", "5%", "-T", str(work)]
    return subprocess.run(command, input=lines(docs), capture_output=True, text=True, check=True).stdout


def our_arpa(docs, work):
    """What `npm run ngram` exports of its own model of the documents."""
    vocab = {f"t{i}": i for i in range(VOCAB)}
    tokenizer = {"model": {"type": "BPE", "vocab": vocab, "merges": []}, "added_tokens": []}
    tokenizer |= dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor", "decoder"))
    (work / "tokenizer.json").write_text(json.dumps(tokenizer))
    ids = np.concatenate([np.array([*doc, 65535]) for doc in docs])
    (work / "toy.u16").write_bytes(ids.astype("<u2").tobytes())
    ngram = ["npm", "run", "--silent", "ngram", "--"]
    train = ["train", "--tokenizer", work / "tokenizer.json", "--prune", "0,0,1,1", "--out", work / "toy.fdlm", work / "toy.u16"]
    for command in (train, ["export-arpa", "--out", work / "ours.arpa", work / "toy.fdlm"]):
        subprocess.run([*ngram, *map(str, command)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return work / "ours.arpa"


def kenlm_scores(path, docs):
    """Natural-log score of every token, each document from the empty history."""
    model = kenlm.Model(str(path))
    out = []
    for doc in docs:
        state, after = kenlm.State(), kenlm.State()
        model.NullContextWrite(state)
        scores = []
        for token in doc:
            scores.append(round(model.BaseScore(state, str(token), after) * math.log(10), 6))
            state, after = after, state
        out.append(scores)
    return out


def parse_arpa(text):
    """{n-gram: (log-probability, backoff weight)} in natural logs, without sentence marks."""
    grams, order = {}, 0
    for line in text.splitlines():
        if line.startswith("\\") and line.endswith("-grams:"):
            order = int(line[1])
        elif order and "\t" in line:
            fields = line.split("\t")
            words = fields[1].split(" ")
            if all(word.isdigit() for word in words):
                backoff = float(fields[2]) if len(fields) > 2 else 0.0
                grams[tuple(map(int, words))] = (float(fields[0]) * math.log(10), backoff * math.log(10))
    return grams


def rounded(grams):
    return {g: tuple(min(round(v * 16) / 16, 0.0 if i == 0 else 9.0) for i, v in enumerate(w)) for g, w in grams.items()}


def format_arpa(grams):
    by_order = [[g for g in sorted(grams) if len(g) == n] for n in range(1, ORDER + 1)]
    out = ["\\data\\", *(f"ngram {n + 1}={len(g)}" for n, g in enumerate(by_order))]
    for n, names in enumerate(by_order):
        out += ["", f"\\{n + 1}-grams:"]
        for name in names:
            logp, backoff = (value / math.log(10) for value in grams[name])
            out.append(f"{logp:.8f}\t{' '.join(map(str, name))}" + (f"\t{backoff:.8f}" if n + 1 < ORDER else ""))
    return [*out, "", "\\end\\"]


def lattice(rng, heads, k):
    rows = []
    for _ in range(heads):
        tokens = rng.sample(range(VOCAB), k)
        logits = sorted((rng.gauss(0, 2) for _ in range(k)), reverse=True)
        total = math.log(sum(map(math.exp, logits))) + 0.1
        rows.append([(t, float(np.float32(x - total))) for t, x in zip(tokens, logits, strict=True)])
    return rows


def lm_acceptor(grams, order, history, rows, weight):
    """The model over the lattice's tokens: a state per history that it knows, and per token one arc with its exact
    backed-off score. (Backoff arcs labelled epsilon would offer, beside an n-gram's own score, that of backing off.)"""

    def score(context, token):
        if (*context, token) in grams:
            return grams[(*context, token)][0]
        return grams.get(context, (0, 0.0))[1] + score(context[1:], token) if context else grams[(token,)][0]

    tokens = sorted({token for row in rows for token, _ in row})
    machine, numbers = fst.VectorFst(), {}

    def state(context):
        context = tuple(context[-(order - 1) :])
        while context and context not in grams:
            context = context[1:]
        if context not in numbers:
            numbers[context] = machine.add_state()
            machine.set_final(numbers[context])
            waiting.append(context)
        return numbers[context]

    waiting = []
    machine.set_start(state(history))
    while waiting:
        context = waiting.pop()
        for token in tokens:
            after = state((*context, token))
            cost = fst.Weight("tropical", -weight * score(context, token))
            machine.add_arc(numbers[context], fst.Arc(token + 1, token + 1, cost, after))
    return machine.arcsort("ilabel")


def lattice_acceptor(rows, weight):
    machine = fst.VectorFst()
    states = [machine.add_state() for _ in range(len(rows) + 1)]
    machine.set_start(states[0])
    machine.set_final(states[-1])
    for i, row in enumerate(rows):
        for token, logp in row:
            machine.add_arc(states[i], fst.Arc(token + 1, token + 1, fst.Weight("tropical", -weight * logp), states[i + 1]))
    return machine.arcsort("olabel")


def best_paths(composed, count):
    """(score, tokens) of the `count` shortest paths, best first."""
    best = fst.shortestpath(composed, nshortest=count).rmepsilon()
    out = []

    def walk(state, cost, tokens):
        final = float(best.final(state))
        if not math.isinf(final):
            out.append((-(cost + final), tokens))
        for arc in best.arcs(state):
            walk(arc.nextstate, cost + float(arc.weight), [*tokens, arc.ilabel - 1])

    walk(best.start(), 0.0, [])
    return sorted(out, reverse=True)


def path_case(rng, grams, order, alpha, heads, k):
    """A lattice whose best paths are told apart by more than rounding."""
    while True:
        rows, history = lattice(rng, heads, k), [rng.randrange(VOCAB) for _ in range(3)]
        composed = fst.compose(lattice_acceptor(rows, 1 - alpha), lm_acceptor(grams, order, history, rows, alpha))
        paths = best_paths(composed, PATHS + 1)
        if all(a[0] - b[0] > GAP for a, b in zip(paths, paths[1:])):
            break
    return {
        "order": order,
        "alpha": alpha,
        "history": history,
        "tokens": [[t for t, _ in row] for row in rows],
        "logProbs": [[float(f"{x:.9g}") for _, x in row] for row in rows],
        "paths": [{"tokens": tokens, "score": round(score, 5)} for score, tokens in paths[:PATHS]],
    }


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, separators=(",", ":")).replace(',"', ',\n"') + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lmplz", required=True)
    parser.add_argument("--work", required=True, type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    docs, others = documents(rng, 40, 40), documents(rng, 3, 40)
    arpa = estimate(args.lmplz, docs, args.work)
    (args.work / "lmplz.arpa").write_text(arpa)
    write(
        ROOT / "test/ngram/fixtures/kenlm.json",
        {
            "vocabSize": VOCAB,
            "documents": docs,
            "others": others,
            "lmplz": {"arpa": arpa.splitlines(), "scores": kenlm_scores(args.work / "lmplz.arpa", others)},
            "ours": {"scores": kenlm_scores(our_arpa(docs, args.work), others)},
        },
    )
    grams = rounded(parse_arpa(arpa))
    # alpha in powers of two: PathSearch counts it in 2^-14.
    shapes = [(4, 0.25, 8, 16), (4, 0.75, 8, 16), (4, 0.875, 5, 6), (3, 0.5, 8, 8), (2, 0.5, 8, 16), (4, 0.0, 7, 5)]
    write(
        ROOT / "test/rescore/fixtures/openfst.json",
        {
            "vocabSize": VOCAB,
            "arpa": format_arpa(grams),
            "cases": [path_case(rng, grams, *shape) for shape in shapes],
        },
    )


if __name__ == "__main__":
    main()
