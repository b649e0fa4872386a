"""Trains the path selector: which candidates of a lattice follow one another well, given the hidden state.

  python train/pair.py --gguf FILE --distill DIR --heads models/NAME/heads.safetensors --out models/NAME/pair.safetensors

A low-rank score of transitions that the hidden state modulates, after DFlash 2: with u the draft heads' hidden layer
at the position whose lattice it is (train/heads.py), rank R, a the token before and b the one after,
  [m; q] = query.weight u + query.bias                                          [2R]
  S(a, b) = bias(b) + <(1 + m) * first(a) + q, second(b)>
It is trained so that softmax_b(logits_j(b) + depth_j S(a, b)) over the draft vocabulary is the base's own choice, where a is
the true token before and the heads are frozen; the base's text and its top 8, as for the heads. depth_j, a number
for each head, is for training alone: the calibration learns such weights anew. Tables are rounded to int8, a scale a row.
OUT.json says what was held out (prompt % 25 == 7 within a shard).
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

import pair_eval
from embeddings import Embeddings
from heads import Heads, warm_start
from heads_data import Data


class Pair(torch.nn.Module):
    """first starts at the main directions of the token embeddings, second at zero, so that S = 0."""

    def __init__(self, embedding, inner, rank, heads):
        super().__init__()
        parameter = torch.nn.Parameter
        unit = embedding / embedding.pow(2).mean(-1, keepdim=True).sqrt().clamp(min=1e-6)
        unit = unit - unit.mean(0)
        directions = unit @ torch.svd_lowrank(unit, q=rank, niter=3)[2]
        self.first = parameter(0.5 * directions / directions.pow(2).mean().sqrt())
        self.second = parameter(torch.zeros(len(embedding), rank))
        self.bias = parameter(torch.zeros(len(embedding)))
        self.query = torch.nn.Linear(inner, 2 * rank)
        torch.nn.init.zeros_(self.query.weight)
        torch.nn.init.zeros_(self.query.bias)
        self.depth = parameter(torch.ones(heads))

    def after(self, u, before):
        """x(a) [B, R] for hidden layers u [B, inner] and rows of the table [B], -1 for a token that is not in it."""
        m, q = self.query(u).chunk(2, -1)
        return (1 + m) * self.first[before.clamp(min=0)] * (before >= 0)[:, None] + q


def int8(values):
    """Rows of [V, R] as (int8, scale [V])."""
    scale = values.abs().amax(-1).clamp(min=1e-12) / 127
    return (values / scale[:, None]).round().to(torch.int8), scale.float()


def export(path, pair, ids):
    first, first_scales = int8(pair.first.detach())
    second, second_scales = int8(pair.second.detach())
    tensors = {
        "ids": ids.int(),
        "first": first,
        "first.scales": first_scales,
        "second": second,
        "second.scales": second_scales,
        "bias": pair.bias.detach().float(),
        "query.weight": pair.query.weight.detach().half(),
        "query.bias": pair.query.bias.detach().float(),
    }
    save_file({name: values.contiguous() for name, values in tensors.items()}, path)


def loss_of(pair, j, out, u, table, before, y, soft):
    """Sets the gradients of `pair` for head j and returns the summed loss of the hard labels.

    out [B, D] of the frozen head, table [V, D] bf16, y [B] index or -1, soft: (mix, indices [B, 8], weights [B, 8]). The
    softmax over the vocabulary is in bf16 and its gradient written by hand: no [B, V] in fp32.
    """
    mix, index, weight = soft
    x = pair.after(u, before)
    scaled = x * pair.depth[j]
    second, bias = pair.second.detach().bfloat16(), (pair.bias * pair.depth[j]).detach().bfloat16()
    p = torch.softmax(out.bfloat16() @ table.T + scaled.detach().bfloat16() @ second.T + bias, -1)
    known = y >= 0
    at = y.clamp(min=0)[:, None]
    loss = -p.gather(1, at)[:, 0].float().clamp(min=1e-9).log()[known].sum()
    p.scatter_add_(1, at, torch.full_like(at, -(1 - mix), dtype=p.dtype))
    p.scatter_add_(1, index, (-mix * weight).to(p.dtype))
    p *= (known / len(y)).to(p.dtype)[:, None]
    to_bias = p.float().sum(0)
    parts = [(scaled, (p @ second).float()), (pair.second, (p.T @ scaled.detach().bfloat16()).float())]
    parts.append((pair.bias * pair.depth[j], to_bias))
    torch.autograd.backward([value for value, _ in parts], [gradient for _, gradient in parts])
    return float(loss) / max(1, int(known.sum()))


def batch_of(data, index, rows, j):
    """(rows with a target, table rows of the tokens before [B], of the targets [B], the base's top 8 there: index, weight [B, 8])."""
    rows = rows[rows + 2 + j < data.end[rows]]
    before, target = (index[data.tokens[rows + ahead + j].long()] for ahead in (1, 2))
    top = index[data.top_ids[rows + 1 + j].long()]
    p = torch.where(top >= 0, data.top_logp[rows + 1 + j].float().exp(), 0.0)
    return rows, before, target, top.clamp(min=0), p / p.sum(-1, keepdim=True).clamp(min=1e-6)


def train(args, base, data, heads, pair, table, index):
    at = data.positions(False)
    steps = int(len(at) * args.epochs / args.batch)
    optimizer = torch.optim.AdamW(pair.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    generator = torch.Generator().manual_seed(args.seed)
    order = torch.cat([at[torch.randperm(len(at), generator=generator)] for _ in range(math.ceil(args.epochs))])
    began, average = time.time(), None
    bar = tqdm(range(steps), unit="step", mininterval=10)
    for step in bar:
        through = max(step / steps, (time.time() - began) / (60 * args.minutes) if args.minutes else 0.0)
        if through >= 1:
            break
        for group in optimizer.param_groups:
            rate = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * through))
            group["lr"] = args.lr * min(1.0, (step + 1) / 100) * rate
        rows = order[step * args.batch : (step + 1) * args.batch]
        # One of the next two columns, and one of those after them; the first one's head has read the token before it.
        for first, end in ((1, min(3, heads.count)), (3, heads.count)):
            j = int(torch.randint(first, end, (1,), generator=generator))
            mine, before, y, soft, weight = batch_of(data, index, rows, j)
            if len(mine) == 0:
                continue
            with torch.no_grad():
                hidden = data.features(mine)
                u = heads.inner(hidden, base.embedding[data.tokens[mine + 1].long()])
                out = heads.out(j, hidden, u)
            loss = loss_of(pair, j, out, u, table, before, y, (args.mix, soft, weight))
            average = loss if average is None else 0.98 * average + 0.02 * loss
        torch.nn.utils.clip_grad_norm_(pair.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        bar.set_postfix(loss=f"{average:.3f}", refresh=False)
    return len(at)


def arguments():
    a = argparse.ArgumentParser()
    a.add_argument("--gguf", required=True)
    a.add_argument("--distill", required=True)
    a.add_argument("--heads", required=True)
    a.add_argument("--out", required=True)
    a.add_argument("--rank", type=int, default=64)
    a.add_argument("--epochs", type=float, default=2.0)
    a.add_argument("--minutes", type=float, default=0, help="end by then, however far the epochs are; 0: never")
    a.add_argument("--batch", type=int, default=512)
    a.add_argument("--lr", type=float, default=2e-3)
    a.add_argument("--mix", type=float, default=0.5, help="share of the base's own distribution in the labels")
    a.add_argument("--held", type=int, default=2048, help="held-out positions")
    a.add_argument("--resident", action="store_true", help="hidden states in memory: far quicker than a disk")
    a.add_argument("--seed", type=int, default=1)
    return a.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    torch.manual_seed(args.seed)
    base, data = Embeddings(args.gguf), Data(args.distill, args.resident)
    weights = load_file(args.heads)
    inner = weights["trunk.weight"].shape[0]
    count = sum(name.endswith(".bias") for name in weights)
    features = weights["in_norm.weight"].shape[0] // base.config.width - 1
    heads = Heads(base.config.width, features, inner, count).requires_grad_(False)
    warm_start(heads, args.heads)
    ids = weights["draft_ids"].long()
    index = torch.full((base.config.vocab,), -1, dtype=torch.long)
    index[ids] = torch.arange(len(ids))
    table = base.output[ids].bfloat16().contiguous()
    pair = Pair(base.embedding[ids].float(), inner, args.rank, count)
    positions = train(args, base, data, heads, pair, table, index)
    export(args.out, pair, ids)
    held = data.positions(True)
    held = held[torch.randperm(len(held), generator=torch.Generator().manual_seed(args.seed))[: args.held]]
    found = pair_eval.block_efficiencies(base, data, heads, pair, table, ids, index, held)
    skipped = ("gguf", "distill", "heads", "out", "resident")
    record = dict(
        command="python train/pair.py "
        + " ".join(f"--{k.replace('_', '-')} {v}" for k, v in vars(args).items() if k not in skipped),
        generated_tokens=len(data.tokens),
        training_positions=positions,
        depth=[round(float(x), 3) for x in pair.depth.detach()],
        validation_positions=len(held),
        validation_block_efficiency=found,
    )
    Path(args.out).with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
