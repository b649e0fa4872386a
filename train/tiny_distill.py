"""Self-distillation data of the `tiny` base, in the shards that train/generate.py describes.

  python train/tiny_distill.py --model models/tiny --cache .cache/tiny --out .cache/tiny/distill

Prompts are training chats up to the first answer, which the base then writes itself, greedily.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from tokenizers import Tokenizer

from base import Base
from tiny_eval import greedy, prompts

TOP = 8
SHARD = 512  # sequences


def save(path, base, rows, answers):
    """tokens[t] is the input whose state is features[t]; the answer's last token has none and is left out."""
    states = torch.cat([state for _, state in answers])
    logits = base.logits(states[:, -base.config.width :])
    top = torch.log_softmax(logits, -1).topk(TOP, -1)
    tokens = [np.concatenate([row[-1:], ids[:-1].numpy()]) for row, (ids, _) in zip(rows, answers)]
    features = states.bfloat16().view(torch.int16).numpy().view(np.uint16)
    np.save(path.with_suffix(".features.npy"), features)
    np.savez(
        path,
        offsets=np.cumsum([0, *map(len, tokens)]),
        tokens=np.concatenate(tokens).astype(np.uint16),
        prompts=np.concatenate([np.array(row[:-1], np.uint16) for row in rows]),
        prompt_offsets=np.cumsum([0, *(len(row) - 1 for row in rows)]),
        prompt_of=np.arange(len(rows)),
        top_ids=top.indices.numpy().astype(np.uint16),
        top_logp=top.values.numpy().astype(np.float16),
        greedy=np.ones(len(rows), bool),
        tasks=np.array(["chat"] * len(rows)),
    )


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--model", required=True)
    a.add_argument("--cache", required=True)
    a.add_argument("--out", required=True)
    a.add_argument("--prompts", type=int, default=4096)
    a.add_argument("--new", type=int, default=128)
    args = a.parse_args()
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    base, out = Base(str(Path(args.model) / "tiny.gguf"), torch.float32), Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    with safe_open(str(Path(args.model) / "heads.safetensors"), "pt") as f:
        taps = tuple(int(t) for t in f.metadata()["taps"].split(",") if t)
    tokenizer = Tokenizer.from_file(str(Path(args.cache) / "tokenizer.json"))
    rows = prompts(args.cache, tokenizer, args.prompts, part="train")
    for shard, at in enumerate(range(0, len(rows), SHARD)):
        # Similar lengths share a batch; the order within a shard stays random to the held-out rule.
        part = rows[at : at + SHARD]
        answers = [None] * len(part)
        order = sorted(range(len(part)), key=lambda i: len(part[i]))
        for start in range(0, len(order), 128):
            batch = order[start : start + 128]
            for i, answer in zip(batch, greedy(base, [part[i] for i in batch], args.new, taps)):
                answers[i] = answer
        save(out / f"{shard:04d}.npz", base, part, answers)
        print(f"shard {shard}: {sum(len(ids) for ids, _ in answers)} tokens", flush=True)


if __name__ == "__main__":
    main()
